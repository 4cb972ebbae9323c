"""Which of warrend's functions are used at all: an order for the linker (`make order`), so that they lie side by side.

The kernel maps a program's file by sixteen pages around each one that is touched: where the used functions, a fifth of the
text, lie scattered between the others, nearly all of it is in each pod's memory.

Two sidecars join a hub under callgrind, learn peers, carry traffic, answer the local API and leave; then two
`warrend wireguard` are configured and talk. What ran goes to Sources/Linking/warrend.order, for the next link. An order of older
sources is no error: what it does not name is only further away. Needs valgrind.
"""
import glob
import json
import os
import re
import shlex
import sys
import time

import harness
import sidecar
from tunnels import Ours

CROWD = 40
# A section is named by so many of its functions: some are renamed as the sources change.
NAMES = 3
LIST = f'{harness.ROOT}/Sources/Linking/warrend.order'


def wrapped(folder):
    """A folder of programs in which warrend runs under callgrind; without debug information, which stops valgrind."""
    for name in ('warren-hub', 'warren', 'warren-cni', 'warren-crowd'):
        os.symlink(harness.binary(name), f'{folder}/{name}')
    os.mkdir(f'{folder}/plain')
    program = f'{folder}/plain/warrend'
    harness.run(['objcopy', '--strip-debug', harness.binary('warrend'), program])
    os.mkdir(f'{folder}/out')
    os.chmod(f'{folder}/out', 0o777)
    with open(f'{folder}/warrend', 'w') as file:
        file.write(f'#!/bin/sh\nTMPDIR={folder}/out exec valgrind -q --tool=callgrind --demangle=no '
                   f'--callgrind-out-file={folder}/out/%p {program} "$@"\n')
    for path in (folder, f'{folder}/plain', f'{folder}/warrend'):
        os.chmod(path, 0o755)
    return program


def stop(sides):
    """Ends the programs, which write then what ran."""
    for child in [child for side in sides for child in side.children]:
        child.terminate()
        child.wait(timeout=30)


def sidecars():
    mesh = sidecar.Mesh()
    left, right = mesh.pods
    left.run(['ping', '-c', '40', '-i', '0.2', '-W', '3', right.inner], check=False)
    mesh.learn(left, mesh.join_crowd(CROWD))
    for question in ('status', 'peers', 'netcheck'):
        harness.run(mesh.ask(left, question))
    mesh.load(3)
    time.sleep(12)  # Calls that nobody answers, sweeps, keepalives.
    stop(mesh.pods)
    mesh.remove()


def wireguards():
    tunnel = Ours('ours', 1, 'libsodium')
    tunnel.cable.left.run(['ping', '-c', '5', '-i', '0.2', tunnel.inner[1]], check=False)
    stop(tunnel.cable.sides)
    tunnel.remove()


def used(path, program):
    """The functions of `program` in a file of callgrind's, in the order in which it names them."""
    names, objects, own = {}, {}, False
    for line in open(path):
        if match := re.match(r'ob=\((\d+)\)(?: (.*))?', line):
            if match[2]:
                objects[match[1]] = match[2]
            own = objects[match[1]] == program
        elif match := re.match(r'c?(ob|fn)=\((\d+)\)(?: (.*))?', line):
            table = objects if match[1] == 'ob' else names
            if match[3]:
                table[match[2]] = match[3]
            if own and line.startswith('fn='):
                yield re.sub(r"'\d+$", '', names[match[2]])  # The number tells depths of recursion apart.


def sections():
    """The objects whose functions share one section, by function; others have a section of their own."""
    with open(f'{os.path.dirname(harness.binary("warrend"))}/warrend.product/Objects.LinkFileList') as file:
        objects = shlex.split(file.read())
    swift = json.loads(harness.run('swiftc -print-target-info'))['paths']['runtimeResourcePath']
    archives = [path for path in glob.glob(f'{swift}_static/linux/lib*.a') if 'Foundation' not in path]
    places, file = {}, None
    for line in harness.run(['objdump', '-t', *objects, *archives]).splitlines():
        if match := re.match(r'(\S.*):\s+file format', line):
            file = match[1]
        elif match := re.match(r'[0-9a-f]{16} .{7} \.text\s+[0-9a-f]{16}\s+(?:\.hidden )?(\S+)$', line):
            places.setdefault(match[1], file)
    return places


def main():
    harness.begin()
    places = sections()
    folder = harness.scratch_folder()
    program = wrapped(folder)
    os.environ['WARREN_BIN_DIR'] = folder
    sidecars()
    wireguards()
    symbols = {line.split()[-1] for line in harness.run(['nm', '--defined-only', program]).splitlines()}
    ran = dict.fromkeys(
        name for path in sorted(glob.glob(f'{folder}/out/*')) for name in used(path, program) if name in symbols)
    order, count = [], {}
    for name in ran:
        place = places.get(name, name)
        count[place] = count.get(place, 0) + 1
        if count[place] <= NAMES:
            order.append(name)
    with open(LIST, 'w') as file:
        file.write(''.join(f'{name}\n' for name in order))
    os.unlink(f'{harness.ROOT}/.build/release/warrend')  # The build does not know that it is to be linked anew.
    print(f'{len(ran)} functions ran, in {len(count)} sections, of which {len(order)} are named in {LIST}')


if __name__ == '__main__':
    sys.exit(main())
