/** `fairlead schema`: the JSON Schema of a config, for editors. */
import { jsonSchema } from "../Config.ts"
import { print } from "./print.ts"

export const schema = () => print(`${JSON.stringify(jsonSchema(), null, 2)}\n`)
