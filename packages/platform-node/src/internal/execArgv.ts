/** Options of Node's that the processes that we start have, too. */

/** What belongs to this process alone: a port to debug it, a file of its profile, its heap, the program itself where that is no file. */
const own =
  /^(-[epic]|-pe|--(eval|print|interactive|check|test|watch|inspect|debug|cpu-prof|heap-prof|prof|max-old-space-size|input-type|title|run))/

/** Those whose value may stand behind them. */
const spaced =
  /^(-[ep]|-pe|--(eval|print|input-type|title|inspect-port|debug-port|(cpu|heap)-prof-(dir|name|interval)))$/

export const inherited = (execArgv: ReadonlyArray<string>): ReadonlyArray<string> =>
  execArgv.filter((arg, i) => !own.test(arg) && !(i > 0 && spaced.test(execArgv[i - 1]!)))
