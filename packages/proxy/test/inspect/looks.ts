/** What an admin port tells, as tests of `fairlead top` need it. */
export const gate = (name: string, more: object = {}) => ({
  kind: "gate",
  name,
  statistics: {
    name,
    limit: 20,
    running: 20,
    waiting: 412,
    maxWaiting: 1_000,
    completed: 90,
    failed: 10,
    refused: 5,
    drainRate: 1.33,
    windows: [
      { limit: 5_000, lengthMillis: 3_600_000, used: 80, pending: 0 },
      { limit: 80, lengthMillis: 60_000, used: 76, pending: 2 }
    ],
    ...more
  }
})

export const pool = {
  kind: "pool",
  name: "upstreams",
  statistics: {
    maxSockets: null,
    sockets: { connecting: 1, busy: 27, idle: 4, closing: 0 },
    waiting: 0,
    waitingForPlace: 0,
    opened: 40,
    reused: 900
  }
}

export const loop = {
  kind: "loop",
  name: "event loop",
  statistics: {
    utilization: 0.41,
    delayMillis: { p50: 0.4, p90: 3, p99: 12, max: 40 },
    iterationsPerSecond: 3_120,
    overloaded: false,
    alarms: [
      { at: "2026-01-01T00:00:00.000Z", millis: 120, function: "older", place: "a.ts:1:1", span: null, count: 1 },
      { at: "2026-01-01T00:00:09.000Z", millis: 214, function: "parse", place: "import.ts:12:3", span: null, count: 2 }
    ]
  }
}

export const memory = {
  kind: "memory",
  name: "memory",
  statistics: {
    level: "tight",
    limitBytes: 1_073_741_824,
    budget: { limitBytes: 67_108_864, usedBytes: 1_048_576, refused: 0 }
  }
}

export const profile = {
  kind: "profile",
  name: "i/o",
  statistics: {
    tasks: 3,
    routes: [
      { name: "github", count: 2, millis: 100, runningMillis: 10, waitingMillis: { gate: 60, firstByte: 30 } },
      { name: "openai", count: 2, millis: 100, runningMillis: 10, waitingMillis: { firstByte: 90 } }
    ]
  }
}

export const cpu = {
  kind: "cpu",
  name: "thumbnails",
  statistics: { size: 4, running: 4, waiting: 2, completed: 100, failed: 1, killed: 3, crashed: 1 }
}

export const breaker = (open: number) => ({ kind: "breaker", name: "openai", statistics: { open } })

export const calls = { kind: "calls", name: "proxy", statistics: { underWay: 37, ended: 1_000 } }

export const statistics = (instances: ReadonlyArray<unknown>, more: object = {}, own: object = {}) => ({
  version: "0.4.0",
  ready: true,
  process: {
    pid: 4_711,
    uptimeMillis: 7_987_000,
    cpuMillis: 100_000,
    rssBytes: 325_058_560,
    heapUsedBytes: 222_298_112,
    heapLimitBytes: 4_395_630_592,
    externalBytes: 1,
    ...own
  },
  instances,
  ...more
})

export const tasks = [
  {
    id: "9d4c1b7a-1042",
    kind: "call",
    name: "GET /github/repos",
    state: "waiting",
    ageMillis: 12_400,
    waitingFor: "gate github",
    deadlineMillis: 17_600
  },
  {
    id: "9d4c1b7a-1040",
    kind: "call",
    name: "POST /openai/chat",
    state: "running",
    ageMillis: 31_000,
    waitingFor: null,
    deadlineMillis: null
  }
]

export const findings = [
  { rule: "unbounded", subject: "gate free", found: "any number may wait", advice: "Give it a bound." }
]
