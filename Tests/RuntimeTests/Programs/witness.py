#!/usr/bin/python3
"""A CNI plugin of any specification version that writes down how it is called, and fails where it is told to.

Keys of its configuration: "log", a file that gets one line of JSON a call; "fail", a verb that is answered with error 11;
"interface", present in a first plugin: ADD makes a link of the runtime's name with that address, whose other end is in the pod too; DEL removes it.
"""
import fcntl
import json
import os
import subprocess
import sys

VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']


def ip(*words):
    subprocess.run(['nsenter', f'--net={os.environ["CNI_NETNS"]}', 'ip', *words], check=True, stderr=subprocess.DEVNULL)


def main():
    verb = os.environ['CNI_COMMAND']
    conf = json.load(sys.stdin)
    version = conf.get('cniVersion', '1.0.0')
    if verb == 'VERSION':
        return {'cniVersion': version, 'supportedVersions': VERSIONS}
    with open(conf['log'], 'a') as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.write(json.dumps({'verb': verb, 'container': os.environ.get('CNI_CONTAINERID', ''),
                              'netns': os.environ.get('CNI_NETNS', ''), 'hasPrevious': 'prevResult' in conf,
                              'keys': sorted(conf)}) + '\n')
    if conf.get('fail') == verb:
        print(json.dumps({'cniVersion': version, 'code': 11, 'msg': f'{verb} fails as it was told to'}))
        sys.exit(1)
    name, address = os.environ.get('CNI_IFNAME', ''), conf.get('interface')
    if verb == 'ADD' and address:
        ip('link', 'add', name, 'type', 'veth', 'peer', 'name', f'{name}-peer')
        ip('address', 'add', address, 'dev', name)
        ip('link', 'set', name, 'up')
        ip('link', 'set', f'{name}-peer', 'up')
        return {'cniVersion': version, 'interfaces': [{'name': name, 'sandbox': os.environ['CNI_NETNS']}],
                'ips': [{'address': address, 'interface': 0}], 'routes': [], 'dns': {}}
    if verb == 'DEL' and address and os.path.exists(os.environ.get('CNI_NETNS') or '/nowhere'):
        try:
            ip('link', 'delete', name)
        except subprocess.CalledProcessError:
            pass
    return conf.get('prevResult') if verb == 'ADD' else None


answer = main()
if answer is not None:
    print(json.dumps(answer))
