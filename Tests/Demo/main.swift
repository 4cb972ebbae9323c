import Glibc
import Lab

exit(Program.run(CommandLine.arguments.dropFirst().first))
