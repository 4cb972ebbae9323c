"""A client of the container runtime interface (k8s.io/cri-api, runtime.v1), as far as these tests use it.

    cri.py RUNTIME_SOCKET LISTEN_SOCKET

Answers on LISTEN_SOCKET: one line of JSON a connection, {"method": "RunPodSandbox", "request": {...}, "timeout": s}, for
one line, {"response": {...}} or {"error": text}. Calls run beside each other. Fields are named as in api.proto and have
its numbers; those that no test needs are left out here, which protocol buffers allow, and skipped when they arrive.
"""
import json
import os
import socketserver
import sys

import grpc

# Field: number and type. '*' is repeated; a capital letter begins a message; map is map<string, string>.
MESSAGES = {
    'VersionRequest': {'version': (1, 'string')},
    'VersionResponse': {'runtime_name': (2, 'string'), 'runtime_version': (3, 'string')},
    'StatusRequest': {'verbose': (1, 'bool')},
    'StatusResponse': {'status': (1, 'RuntimeStatus'), 'info': (2, 'map')},
    'RuntimeStatus': {'conditions': (1, '*RuntimeCondition')},
    'RuntimeCondition': {'type': (1, 'string'), 'status': (2, 'bool'), 'reason': (3, 'string'),
                         'message': (4, 'string')},
    'RunPodSandboxRequest': {'config': (1, 'PodSandboxConfig')},
    'RunPodSandboxResponse': {'pod_sandbox_id': (1, 'string')},
    'StopPodSandboxRequest': {'pod_sandbox_id': (1, 'string')},
    'StopPodSandboxResponse': {},
    'RemovePodSandboxRequest': {'pod_sandbox_id': (1, 'string')},
    'RemovePodSandboxResponse': {},
    'PodSandboxStatusRequest': {'pod_sandbox_id': (1, 'string'), 'verbose': (2, 'bool')},
    'PodSandboxStatusResponse': {'status': (1, 'PodSandboxStatus'), 'info': (2, 'map')},
    'PodSandboxStatus': {'id': (1, 'string'), 'state': (3, 'int'), 'network': (5, 'PodSandboxNetworkStatus')},
    'PodSandboxNetworkStatus': {'ip': (1, 'string'), 'additional_ips': (2, '*PodIP')},
    'PodIP': {'ip': (1, 'string')},
    'ListPodSandboxRequest': {},
    'ListPodSandboxResponse': {'items': (1, '*PodSandbox')},
    'PodSandbox': {'id': (1, 'string'), 'metadata': (2, 'PodSandboxMetadata'), 'state': (3, 'int')},
    'PodSandboxMetadata': {'name': (1, 'string'), 'uid': (2, 'string'), 'namespace': (3, 'string'),
                           'attempt': (4, 'int')},
    'PodSandboxConfig': {'metadata': (1, 'PodSandboxMetadata'), 'hostname': (2, 'string'),
                         'log_directory': (3, 'string'), 'port_mappings': (5, '*PortMapping'), 'labels': (6, 'map'),
                         'annotations': (7, 'map'), 'linux': (8, 'LinuxPodSandboxConfig')},
    'PortMapping': {'protocol': (1, 'int'), 'container_port': (2, 'int'), 'host_port': (3, 'int'),
                    'host_ip': (4, 'string')},
    'LinuxPodSandboxConfig': {'cgroup_parent': (1, 'string'), 'security_context': (2, 'LinuxSandboxSecurityContext')},
    'LinuxSandboxSecurityContext': {'namespace_options': (1, 'NamespaceOption')},
    'NamespaceOption': {'network': (1, 'int'), 'pid': (2, 'int'), 'ipc': (3, 'int')},
    'CreateContainerRequest': {'pod_sandbox_id': (1, 'string'), 'config': (2, 'ContainerConfig'),
                               'sandbox_config': (3, 'PodSandboxConfig')},
    'CreateContainerResponse': {'container_id': (1, 'string')},
    'ContainerConfig': {'metadata': (1, 'ContainerMetadata'), 'image': (2, 'ImageSpec'), 'command': (3, '*string'),
                        'args': (4, '*string'), 'envs': (6, '*KeyValue'), 'mounts': (7, '*Mount'),
                        'devices': (8, '*Device'), 'log_path': (11, 'string'), 'linux': (15, 'LinuxContainerConfig')},
    'ContainerMetadata': {'name': (1, 'string'), 'attempt': (2, 'int')},
    'ImageSpec': {'image': (1, 'string')},
    'KeyValue': {'key': (1, 'string'), 'value': (2, 'string')},
    'Mount': {'container_path': (1, 'string'), 'host_path': (2, 'string'), 'readonly': (3, 'bool')},
    'Device': {'container_path': (1, 'string'), 'host_path': (2, 'string'), 'permissions': (3, 'string')},
    'LinuxContainerConfig': {'security_context': (2, 'LinuxContainerSecurityContext')},
    'LinuxContainerSecurityContext': {
        'capabilities': (1, 'Capability'), 'namespace_options': (3, 'NamespaceOption'), 'run_as_user': (5, 'Int64Value'),
        'readonly_rootfs': (7, 'bool'), 'no_new_privs': (11, 'bool'), 'run_as_group': (12, 'Int64Value'),
        'seccomp': (15, 'SecurityProfile')},
    'Capability': {'add_capabilities': (1, '*string'), 'drop_capabilities': (2, '*string')},
    'Int64Value': {'value': (1, 'int')},
    'SecurityProfile': {'profile_type': (1, 'int')},
    'StartContainerRequest': {'container_id': (1, 'string')},
    'StartContainerResponse': {},
    'StopContainerRequest': {'container_id': (1, 'string'), 'timeout': (2, 'int')},
    'StopContainerResponse': {},
    'RemoveContainerRequest': {'container_id': (1, 'string')},
    'RemoveContainerResponse': {},
    'ContainerStatusRequest': {'container_id': (1, 'string'), 'verbose': (2, 'bool')},
    'ContainerStatusResponse': {'status': (1, 'ContainerStatus'), 'info': (2, 'map')},
    'ContainerStatus': {'id': (1, 'string'), 'state': (3, 'int'), 'exit_code': (7, 'int'), 'log_path': (15, 'string')},
    'ExecSyncRequest': {'container_id': (1, 'string'), 'cmd': (2, '*string'), 'timeout': (3, 'int')},
    'ExecSyncResponse': {'stdout': (1, 'bytes'), 'stderr': (2, 'bytes'), 'exit_code': (3, 'int')},
}


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(name, values):
    """The message in wire format. A field that it does not have is an error, not a silence."""
    out = bytearray()
    for field, value in values.items():
        number, kind = MESSAGES[name][field]
        if kind == 'map':
            items = [encode('KeyValue', {'key': key, 'value': text}) for key, text in value.items()]
        elif kind[0] == '*':
            items = [one(kind[1:], item) for item in value]
        else:
            items = [one(kind, value)]
        for item in items:
            if isinstance(item, int):
                out += varint(number << 3) + varint(item)
            else:
                out += varint(number << 3 | 2) + varint(len(item)) + item
    return bytes(out)


def one(kind, value):
    if kind in ('int', 'bool'):
        return int(value)
    return value.encode() if kind == 'string' else encode(kind, value)


def decode(name, data):
    fields = {number: (field, kind) for field, (number, kind) in MESSAGES[name].items()}
    values = {field: [] if kind[0] == '*' else {} for field, (_, kind) in MESSAGES[name].items() if kind[0] == '*'
              or kind == 'map'}
    at = 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = read()
        wire = tag & 7
        if wire == 0:
            raw = read()
        else:
            length = read() if wire == 2 else {1: 8, 5: 4}[wire]
            raw = data[at:at + length]
            at += length
        if tag >> 3 not in fields:
            continue
        field, kind = fields[tag >> 3]
        if kind == 'map':
            pair = decode('KeyValue', raw)
            values[field][pair.get('key', '')] = pair.get('value', '')
            continue
        base = kind.lstrip('*')
        if base == 'int':
            value = raw - (1 << 64) if raw >= 1 << 63 else raw
        elif base == 'bool':
            value = bool(raw)
        elif base in ('string', 'bytes'):
            value = raw.decode(errors='replace')
        else:
            value = decode(base, raw)
        if kind[0] == '*':
            values[field].append(value)
        else:
            values[field] = value
    return values


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        asked = json.loads(self.rfile.readline())
        method = asked['method']
        call = self.server.channel.unary_unary(
            f'/runtime.v1.RuntimeService/{method}',
            request_serializer=lambda request: encode(f'{method}Request', request),
            response_deserializer=lambda data: decode(f'{method}Response', data))
        try:
            answer = {'response': call(asked['request'], timeout=asked['timeout'], wait_for_ready=True)}
        except grpc.RpcError as error:
            answer = {'error': f'{error.code().name}: {error.details()}'}
        except (KeyError, TypeError, ValueError) as error:
            answer = {'error': f'{method}: {error!r}'}
        self.wfile.write(json.dumps(answer).encode() + b'\n')


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    runtime, listen = sys.argv[1:]
    server = Server(listen + '.new', Handler)
    # Once the runtime has been killed, its successor is to be found within a moment.
    server.channel = grpc.insecure_channel(
        f'unix:{runtime}', options=[('grpc.max_reconnect_backoff_ms', 200), ('grpc.enable_http_proxy', 0)])
    os.rename(listen + '.new', listen)
    server.serve_forever()


main()
