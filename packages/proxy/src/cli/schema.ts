/** `fairlead schema`: the JSON Schema of a config, for editors. */
import { Effect } from "effect"
import { jsonSchema } from "../Config.ts"

export const schema = () => Effect.sync(() => process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`))
