import Glibc
import Lab

exit(Program.run())
