/** What the proxies of the bench are told. */

/** Limits that never bite, so that every stage has its work to do and nobody waits. */
export const config = (port: number, upstream: string) => `
listen: 127.0.0.1:${port}
upstreams:
  bench:
    url: ${upstream}
    concurrency: 100
    rate: 1000000 per second
    queue: { items: 1000, wait: 30 seconds }
    timeout: 30 seconds
    headers:
      authorization: Bearer of-the-bench
`
