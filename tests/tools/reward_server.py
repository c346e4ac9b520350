#!/usr/bin/env python3
"""A reward service for tests, good and bad: the path says how it behaves.

    reward_server.py PORTFILE [--cert FILE --key FILE] [--other PORT] [--hold FOLDER]

Listens on 127.0.0.1 and writes its port to PORTFILE. A good score is the mean of a sample's
"values", or the number of letters A in its "text". GET /stats tells what it has seen.
/hold/NAME keeps answers back until there is a file FOLDER/NAME/go (hold() says which), and
writes down which samples it was asked for and which it answered. Only the standard library;
for thousands of scores a second it reads HTTP itself.
"""
import argparse
import asyncio
import functools
import gzip
import hashlib
import json
import os
import ssl
import time
from email.utils import formatdate

answered = {}  # index -> how often its score was sent in full
seen = {}      # digest of a body -> how often it came
stats = {"requests": 0, "connections": 0, "tokens": [], "in_flight": 0, "most_in_flight": 0}
options = None


class Drop(Exception):
    """Close the connection without a word."""


def flat(v):
    return [x for w in v for x in flat(w)] if isinstance(v, list) else [v]


def score(sample):
    if "values" in sample:
        v = flat(sample["values"])
        return sum(v) / len(v)
    return float(sample.get("text", "").count("A")) + len(sample.get("png", "")) % 7


def reply(body, code=200, headers=(), kind="application/json"):
    data = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {code} X", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + data


@functools.cache
def bomb():
    return gzip.compress(b" " * (16 << 20), 1)


def good(samples):
    return {"scores": [score(s) for s in samples]}


def count(samples):
    for s in samples:
        if "index" in s:
            answered[s["index"]] = answered.get(s["index"], 0) + 1


def chat(body, mode):
    content = body["messages"][0]["content"]
    question = content if isinstance(content, str) else content[0]["text"]
    picture = "" if isinstance(content, str) else content[1]["image_url"]["url"]
    if mode == "yes":
        tops = [{"token": t, "logprob": p} for t, p in
                (("Yes", -0.5), (" yes", -2.0), ("No", -1.5), ("Maybe", -9.0), ("YES", -9999.0))]
        choice = {"message": {"content": "Yes"},
                  "logprobs": {"content": [{"token": "Yes", "logprob": -0.5, "top_logprobs": tops}]}}
        if not body.get("logprobs") or body.get("max_tokens", 99) > 4:
            return reply("no logprobs asked", 400)
    elif mode == "number":
        choice = {"message": {"content": f"I give it {len(picture or question) % 11} points."}}
    elif mode == "words":
        choice = {"message": {"content": f"<think>hm</think>It is {question.split(':')[-1]}"}}
    else:
        choice = {"message": {"content": None}}
    return reply(json.dumps({"id": "x", "choices": [choice]}))


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
    for _ in range(4096):
        writer.write(chunk)
        await writer.drain()
    raise Drop


def per_sample(samples):
    """Each status in turn, by index."""
    out = []
    for s in samples:
        k = s["index"] % 6
        out.append([{"score": score(s)}, {"score": None}, {"infeasible": True},
                    {"score": float("nan")}, {"error": "cannot"}, {"score": float("-inf")}][k])
    return {"results": out}


async def hold(folder, samples, reader):
    """Of three samples the first is answered at once, the second also where there is a file
    `late`, the third only with `go`."""
    def note(word):
        with open(os.path.join(folder, word), "a") as f:
            for s in samples:
                print(f"{s['iteration']}:{s['index']}", file=f)
    until = {0: ["go", "late", "."], 1: ["go", "late"], 2: ["go"]}
    files = until[max(s["index"] % 3 for s in samples)]
    note("asked")
    for _ in range(60000):
        if any(os.path.exists(os.path.join(folder, f)) for f in files):
            break
        await asyncio.sleep(0.01)
        if reader.at_eof():
            raise Drop
    note("answered")
    return reply(json.dumps(good(samples)))


async def answer(path, raw, headers, reader, writer):
    """The bytes of an answer, or None where it has been sent."""
    key = hashlib.sha1(path.encode() + raw).digest()
    seen[key] = again = seen.get(key, 0) + 1
    path = path.split("?")[0]
    if path.startswith("http://"):  # as to a proxy
        path = "/" + path.split("/", 3)[3]
    if path.startswith("/chat/"):
        return chat(json.loads(raw), path[6:])
    samples = json.loads(raw)["samples"]
    if path.startswith("/hold/"):
        return await hold(os.path.join(options.hold, path[6:]), samples, reader)
    text = json.dumps(good(samples))
    if path == "/faults":  # a request in twenty meets one, at its first attempt only
        fault = key[0] % 20 == 0 and again == 1 and key[1] % 5
        if fault is not False:
            if fault == 0:
                return reply("busy", 503)
            if fault == 1:
                raise Drop
            if fault == 2:
                return reply("slow down", 429)
            writer.write(reply(text)[:-3] if fault == 3 else b"HTTP/1.1 2")
            await writer.drain()
            raise Drop
        count(samples)
        return reply(text)
    if path in ("/429", "/429date") and again == 1:
        after = "1" if path == "/429" else formatdate(time.time() + 2, usegmt=True)
        return reply("later", 429, [f"Retry-After: {after}"])
    if path == "/flaky" and again == 1:
        return reply("oops", 500)
    if path == "/slow":
        await asyncio.sleep(0.3)
    if path == "/silent":
        await asyncio.sleep(30)
        raise Drop
    if path == "/hang":
        writer.write(reply(text)[:-5])
        await writer.drain()
        await asyncio.sleep(30)
        raise Drop
    if path == "/truncated":
        writer.write(reply(text)[:-5])
        await writer.drain()
        raise Drop
    if path == "/endless":
        await endless(writer)
    if path == "/close":
        count(samples)
        writer.write(reply(text))
        await writer.drain()
        raise Drop
    if path == "/each":
        return reply(json.dumps(per_sample(samples)))
    if path == "/token":  # as careless services do
        return reply("wrong token " + headers.get("authorization", ""), 401)
    if path == "/echo":  # in a reply that looks well until it is read
        return reply('{"scores" "%s"}' % headers.get("authorization", " ").split(" ")[-1])
    short = {"scores": good(samples)["scores"][:-1]}
    table = {
        "/500": lambda: reply("always", 500),
        "/404": lambda: reply("no such model", 404),
        "/html": lambda: reply("<html><body>502 Bad Gateway</body></html>", kind="text/html"),
        "/nan": lambda: reply(nan(samples)),
        "/count": lambda: reply(json.dumps(short)),
        "/string": lambda: reply(json.dumps({"scores": ["0.5"] * len(samples)})),
        "/empty": lambda: reply(""),
        "/redirect": lambda: reply("", 307, [f"Location: http://localhost:{options.other}/ok"]),
        "/bomb": lambda: reply(bomb(), 200, ["Content-Encoding: gzip"]),
        "/gzip": lambda: reply(gzip.compress(text.encode()), 200, ["Content-Encoding: gzip"]),
    }
    if path in table:
        return table[path]()
    count(samples)
    return reply(text)


def nan(samples):
    """Every other score is none that JSON knows."""
    scores = good(samples)["scores"]
    words = [repr(v) if i % 2 else ["NaN", "Infinity", "1e999"][i // 2 % 3]
             for i, v in enumerate(scores)]
    return '{"scores": [' + ", ".join(words) + "]}"


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs = [line.split(":", 1) for line in head[1:] if ":" in line]
    headers = {name.lower(): value.strip() for name, value in pairs}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return method, path, headers, raw


async def serve(reader, writer):
    stats["connections"] += 1
    try:
        while True:
            method, path, headers, raw = await read_request(reader)
            if method == "GET":
                copies = {"answered": len(answered), "twice": sum(v > 1 for v in answered.values())}
                writer.write(reply(json.dumps({**stats, **copies})))
                await writer.drain()
                continue
            stats["requests"] += 1
            token = headers.get("authorization", "")
            if token not in stats["tokens"]:
                stats["tokens"].append(token)
            stats["in_flight"] += 1
            stats["most_in_flight"] = max(stats["most_in_flight"], stats["in_flight"])
            try:
                data = await answer(path, raw, headers, reader, writer)
            finally:
                stats["in_flight"] -= 1
            writer.write(data)
            await writer.drain()
    except (Drop, asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def main():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("port_file")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--other", type=int, default=9)
    parser.add_argument("--hold")
    options = parser.parse_args()
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=1 << 26, backlog=512)
    with open(options.port_file + ".tmp", "w") as f:
        print(server.sockets[0].getsockname()[1], file=f)
    os.rename(options.port_file + ".tmp", options.port_file)
    async with server:
        await server.serve_forever()


asyncio.run(main())
