"""aiohttp under the load of `load.ts`: one session, 50 connections that stay. Prints what a round gives, as JSON."""

import asyncio
import json
import resource
import sys
import time

import aiohttp

url, size, at_once, warm, seconds = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
answers = 0
over = False


async def one(session, urls):
    global answers
    for each in urls:
        async with session.get(each) as response:
            body = await response.read()
        if len(body) != size:
            raise RuntimeError(f"Expected an answer of {size} bytes, got {len(body)}")
        answers += 1


def each_url():
    sent = 0
    while not over:
        yield f"{url}?{sent}"
        sent += 1


def sample():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, answers, time.monotonic()


async def measured():
    global over
    while answers < warm:
        await asyncio.sleep(0.01)
    before = sample()
    await asyncio.sleep(seconds)
    cpu, requests, took = (b - a for a, b in zip(before, sample()))
    over = True
    return {"micros": cpu * 1e6 / requests, "perSecond": requests / took}


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:
        urls = each_url()
        figures, *_ = await asyncio.gather(measured(), *(one(session, urls) for _ in range(at_once)))
        print(json.dumps(figures))


asyncio.run(main())
