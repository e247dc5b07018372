# SPDX-License-Identifier: BSD-2-Clause
"""A download that never ends, ends twice, has another one's bytes, or waits for its turn when all
are to run at once."""
import hashlib
import http.server
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import adapter
from program import cli

COUNT = 100


def body(path):
    """Of a size between nothing and 400 KB, and its own."""
    number = int(path.rsplit("/", 1)[1])
    seed = hashlib.sha256(path.strip("/").encode()).digest()
    return (seed * 12800)[:number * 4000 + number]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    together = threading.Barrier(COUNT)

    def do_GET(self):
        getattr(self, "get_" + self.path.split("/")[1])()

    def answer(self, status, data, claimed=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if claimed is None else claimed))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def get_now(self):
        self.answer(200, body(self.path))

    def get_together(self):
        """An answer when all have asked."""
        self.together.wait(cli.PATIENCE_S)
        self.answer(200, body(self.path))

    def get_slow(self):
        data = body(self.path)
        self.answer(200, data[:1], len(data))
        for at in range(1, len(data), 20000):
            time.sleep(0.01)
            self.wfile.write(data[at:at + 20000])

    def get_missing(self):
        self.answer(404, b"gone")

    def get_moved(self):
        self.answer(302, b"", Location="/now/7")

    def get_once(self):
        """The connection is of no more use, so that libcurl closes it and opens another."""
        self.answer(200, body(self.path), Connection="close")
        self.close_connection = True

    def get_cut(self):
        self.answer(200, b"half", 8)
        self.close_connection = True

    def get_reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def get_never(self):
        self.server.released.wait(cli.PATIENCE_S)
        self.close_connection = True

    def log_message(self, format, *args):
        pass


class Site(http.server.ThreadingHTTPServer):
    request_queue_size = COUNT
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.released = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request, client_address):
        pass  # a peer that went

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.released.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


def ends(out):
    """What it printed of each URL: status, bytes, and why it failed."""
    result = {}
    for line in out.splitlines():
        status, size, rest = line.split(" ", 2)
        url, _, why = rest.partition(": ")
        if url in result:
            raise AssertionError(f"{url} ended twice")
        result[url] = (status, int(size), why)
    return result


class CurlMulti(unittest.TestCase):
    def download(self, paths, *args):
        """All of it is there, byte for byte."""
        with Site() as site, tempfile.TemporaryDirectory() as folder:
            urls = [site.url(path) for path in paths]
            status, out, err = adapter.run("curl-multi", "--file", "-", "--save", folder, *args,
                                           text="\n".join(urls) + "\n")
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(ends(out), {url: ("200", len(body(path)), "")
                                         for url, path in zip(urls, paths)})
            for number, path in enumerate(paths, 1):
                with open(os.path.join(folder, str(number)), "rb") as file:
                    self.assertEqual(file.read(), body(path))

    def test_a_hundred_at_once(self):
        self.download([f"together/{i}" for i in range(COUNT)])

    def test_a_hundred_over_a_few_connections_that_are_used_again(self):
        self.download([f"now/{i}" for i in range(COUNT)], "--parallel", "3")

    def test_sockets_that_are_closed_and_whose_numbers_come_again(self):
        self.download([f"once/{i}" for i in range(COUNT)], "--parallel", "10")

    def test_each_way_to_fail_beside_those_that_succeed(self):
        with socket.socket() as nobody, Site() as site:
            nobody.bind(("127.0.0.1", 0))
            expected = {f"http://127.0.0.1:{nobody.getsockname()[1]}/": ("---", 0, "connect"),
                        site.url("missing/1"): ("404", 4, ""),
                        site.url("moved/1"): ("200", len(body("/now/7")), ""),
                        site.url("cut/1"): ("200", 4, "partial"),
                        site.url("reset/1"): ("---", 0, ""),
                        site.url("never/1"): ("---", 0, "Timeout"),
                        "http:///": ("---", 0, "URL")}
            for i in range(10):
                path = f"slow/{i * 10}"
                expected[site.url(path)] = ("200", len(body(path)), "")
            status, out, err = adapter.run("curl-multi", "--timeout", "4", *expected)
            self.assertEqual((status, err), (1, ""))
            got = ends(out)
            self.assertEqual(set(got), set(expected))
            for url, (code, size, why) in expected.items():
                self.assertEqual(got[url][:2], (code, size), url)
                self.assertIn(why, got[url][2])
            self.assertNotEqual(got[site.url("reset/1")][2], "")

    def test_sigterm_ends_it_while_it_downloads(self):
        with Site() as site:
            urls = [site.url("now/1")] + [site.url("never/1") for _ in range(20)]
            with subprocess.Popen(adapter.command("curl-multi", *urls), stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"},
                                  bufsize=0) as process:
                cli.wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) > 20, "sockets")
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=cli.PATIENCE_S)
                self.assertEqual(process.returncode, 1)
                self.assertIn(b"of 21 ended", err)

    def test_mistakes(self):
        status, _, err = adapter.run("curl-multi")
        self.assertEqual(status, 2)
        self.assertIn("no URL", err)
        status, _, err = adapter.run("curl-multi", "--file", "/nowhere/urls")
        self.assertEqual(status, 2)
        self.assertIn("No such file", err)
        status, out, err = adapter.run("curl-multi", "--save", "/nowhere", "http://127.0.0.1:1/")
        self.assertEqual((status, err), (1, ""))
        self.assertIn("No such file", out)


if __name__ == "__main__":
    cli.main()
