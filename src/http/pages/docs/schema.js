/** What a schema of the OpenAPI document says, with references followed. */
export class Schemas {
  constructor(document) {
    this.document = document
  }

  /** The schema behind a reference or a `oneOf` with null; a description beside the reference wins. */
  resolve(schema) {
    if (schema.$ref) {
      const target = schema.$ref.slice(2).split('/').reduce((node, name) => node[name.replaceAll('~1', '/').replaceAll('~0', '~')], this.document)
      return { ...this.resolve(target), ...(schema.description && { description: schema.description }) }
    }
    const alternatives = schema.oneOf ?? schema.anyOf
    const [only, ...others] = (alternatives ?? []).filter((alternative) => alternative.type !== 'null')
    if (only && others.length === 0) {
      return { ...this.resolve(only), ...(schema.description && { description: schema.description }), nullable: alternatives.length > 1 }
    }
    return Array.isArray(schema.type) ? { ...schema, type: schema.type.find((type) => type !== 'null'), nullable: schema.type.includes('null') } : schema
  }

  /** The members of an object, or of the objects of an array, in their order: `{name, required, schema}`. */
  members(schema) {
    const { items, allOf = [], properties = {}, required = [] } = this.resolve(schema)
    if (items) return this.members(items)
    const own = Object.entries(properties).map(([name, member]) => ({ name, required: required.includes(name), schema: this.resolve(member) }))
    return [...allOf.flatMap((part) => this.members(part)), ...own]
  }

  /** An example of a body, its members in the order of the schema. */
  example({ schema, example }) {
    const order = this.members(schema ?? {}).map(({ name }) => name)
    const isObject = example !== null && typeof example === 'object' && !Array.isArray(example)
    return isObject ? Object.fromEntries(Object.entries(example).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b))) : example
  }
}

/** The rules of a value in words. */
export function rules(schema) {
  const { type, format, minLength, maxLength, minimum, maximum, default: preset } = schema
  const kind = schema.enum ? schema.enum.join(', ') : format === 'email' || format === 'date-time' ? format : type
  const length = maxLength && (minLength === maxLength ? `${maxLength} characters` : `at most ${maxLength.toLocaleString('en')} characters`)
  const range = maximum === undefined ? minimum !== undefined && `${minimum} or more` : `${minimum} to ${maximum.toLocaleString('en')}`
  return [kind, length, range, preset !== undefined && `${preset} if absent`, schema.nullable && 'or null'].filter(Boolean).join(', ')
}
