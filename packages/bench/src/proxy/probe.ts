/** Loaded before a proxy under test (`--import`): says how much CPU the process has used, when asked. */
process.on("message", () => process.send?.(process.cpuUsage()))
process.on("disconnect", () => process.exit())
