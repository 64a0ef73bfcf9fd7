"""A small server that speaks as much of the hub's protocol as a download needs, with faults on demand."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = 'c0ffee' + '0' * 34
# Larger files are in git-lfs, as on the hub: their checksum is a SHA-256, that of others is git's.
LFS_FROM = 200


def lfs_sum(content: bytes) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


def git_sum(content: bytes) -> str:
    """SHA-1 of a file as git has it."""
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


@dataclass
class Hub:
    """What the server has, and what it does wrong.

    Attributes:
        repositories: ``models/OWNER/NAME`` or ``spaces/OWNER/NAME`` -> name of a file -> its content.
        url: address of the server.
        cut: name of a file -> so many of its bytes are sent; then the connection is closed, each time.
        once: names of files that are cut once only.
        wrong: names of files of which other bytes are sent than the checksum says.
        status: what every answer is, if that is an error.
        ranges: whether it answers requests of a part of a file.
        loads: (name of a file, first byte that was asked for) of every download.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    url: str = ''
    cut: dict[str, int] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    status: int | None = None
    ranges: bool = True
    loads: list[tuple[str, int]] = field(default_factory=list)


def listing(name: str, files: dict[str, bytes]) -> dict:
    """What the hub says about a repository."""
    siblings = []
    for file, content in files.items():
        entry = {'rfilename': file, 'size': len(content), 'blobId': git_sum(content)}
        if len(content) >= LFS_FROM:
            entry['lfs'] = {'sha256': lfs_sum(content), 'size': len(content), 'pointerSize': 130}
        siblings.append(entry)
    return {'id': name, 'sha': COMMIT, 'siblings': siblings, 'tags': ['license:apache-2.0'], 'private': False}


class Handler(BaseHTTPRequestHandler):
    """Answer one request."""

    protocol_version = 'HTTP/1.1'
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition('?')[0].strip('/')
        if self.hub.status is not None:
            self.fail(self.hub.status)
        elif path.startswith('api/'):
            name = path.removeprefix('api/')
            files = self.hub.repositories.get(name)
            if files is None:
                self.fail(404, 'RepoNotFound')
            else:
                self.send(200, json.dumps(listing(name.partition('/')[2], files)).encode(), {})
        else:
            repository, _, rest = path.partition('/resolve/')
            kind = '' if repository.startswith('spaces/') else 'models/'
            files = self.hub.repositories.get(kind + repository)
            file = rest.partition('/')[2]
            if files is None or file not in files:
                self.fail(404, 'RepoNotFound' if files is None else 'EntryNotFound')
            else:
                self.file(file, files[file], body)

    def file(self, name: str, content: bytes, body: bool) -> None:
        etag = lfs_sum(content) if len(content) >= LFS_FROM else git_sum(content)
        headers = {'ETag': f'"{etag}"', 'X-Repo-Commit': COMMIT, 'X-Linked-Size': str(len(content))}
        if not body:
            self.send(200, content, headers, body=False)
            return
        asked = self.headers.get('Range')
        first = int(asked.removeprefix('bytes=').partition('-')[0]) if asked and self.hub.ranges else 0
        self.hub.loads.append((name, first))
        sent = bytes(byte ^ 1 for byte in content) if name in self.hub.wrong else content
        if first:
            headers['Content-Range'] = f'bytes {first}-{len(content) - 1}/{len(content)}'
        self.send(206 if first else 200, sent[first:], headers, stop=self.stop(name, first))

    def stop(self, name: str, first: int) -> int | None:
        """After how many bytes of the answer the connection breaks."""
        if name not in self.hub.cut:
            return None
        stop = max(0, self.hub.cut[name] - first)
        if name in self.hub.once:
            del self.hub.cut[name]
        return stop

    def send(self, code: int, content: bytes, headers: dict, body: bool = True, stop: int | None = None) -> None:
        self.send_response(code)
        for name, value in {**headers, 'Content-Length': str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[:stop])
        if stop is not None:
            self.close_connection = True

    def fail(self, code: int, reason: str | None = None) -> None:
        self.send(code, b'', {} if reason is None else {'X-Error-Code': reason, 'X-Error-Message': reason})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve inside the block; the address is in ``hub.url``."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), type('OfHub', (Handler,), {'hub': hub}))
    server.daemon_threads = True
    hub.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
