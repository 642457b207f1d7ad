import { curl, send } from '../call.js'
import { copyable } from '../copy.js'
import { h } from '../element.js'
import { prose } from './prose.js'
import { rules } from './schema.js'

/** An operation with the form that calls it. Codes that every operation has are not repeated. */
export function operation({ method, path, id, takesKey, description }, schemas, isShared) {
  const { summary, parameters = [], requestBody, responses } = description
  const inputs = parameters.map((parameter) => [parameter, input(id, parameter)])
  const content = Object.entries(requestBody?.content ?? {}).find(([, { example }]) => example !== undefined)
  const body = content && textarea(id, content[0], schemas.example(content[1]))
  const output = h('output', { for: id })

  const call = () => {
    const values = (place) => Object.fromEntries(inputs.filter(([parameter]) => parameter.in === place).map(([{ name }, { value }]) => [name, value]))
    const type = content && { 'Content-Type': content[0] }
    return { method, path, query: values('query'), headers: { ...type, ...values('header') }, body: body?.value }
  }
  const submit = async (event) => {
    event.preventDefault()
    const sent = call()
    output.replaceChildren(h('p', {}, 'Sending…'))
    try {
      const key = takesKey ? document.getElementById('key').value.trim() : ''
      const received = await send(sent, key)
      output.replaceChildren(...answer(received, sent, takesKey))
      passOn(id, received.json?.identityId)
    } catch (error) {
      output.replaceChildren(h('p', { class: 'bad' }, `No answer came: ${error.message}. Is the server running?`))
    }
  }

  const parameterFields = (isWanted) =>
    inputs.filter(([parameter]) => isWanted(parameter)).map(([{ name, required, description, schema }, control]) => field(name, required, { ...schemas.resolve(schema), description }, control))
  const fields = [
    ...parameterFields((parameter) => parameter.in !== 'header'),
    ...(content ? schemas.members(content[1].schema ?? {}) : []).map(({ name, required, schema }) => field(name, required, schema)),
    ...parameterFields((parameter) => parameter.in === 'header'),
  ]
  return h(
    'section',
    { id, class: 'operation', 'aria-labelledby': `${id}-title` },
    h('h2', { id: `${id}-title` }, h('span', { class: 'method' }, method), ' ', h('code', {}, path)),
    h('p', { class: 'summary' }, summary),
    prose(description.description),
    fields.length > 0 && h('dl', { class: 'fields' }, fields),
    h(
      'form',
      { onsubmit: submit },
      body && [h('label', { for: `${id}-body` }, 'Body'), body],
      h('button', { class: 'primary' }, 'Send'),
    ),
    output,
    h('details', {}, h('summary', {}, 'Answers'), answers(responses, schemas, isShared)),
  )
}

/** The operations below get the identity that was opened: one that they log out is used up. */
function passOn(id, identityId) {
  if (!identityId) return
  for (const body of document.querySelectorAll(`#${id} ~ .operation textarea`)) {
    body.value = body.value.replace(/("identityId": ")\w+/, `$1${identityId}`)
  }
}

function input(id, { name, in: place, example, schema }) {
  const preset = place === 'query' && example !== undefined ? String(example) : ''
  const hint = example ?? schema.examples?.[0] ?? schema.default
  return h('input', { id: `${id}-${name}`, value: preset, placeholder: hint, autocomplete: 'off', spellcheck: 'false' })
}

function textarea(id, type, example) {
  const indent = type === 'application/x-ndjson' ? 0 : 2
  const text = typeof example === 'string' ? example : JSON.stringify(example, null, indent)
  return h('textarea', { id: `${id}-body`, rows: Math.min(text.split('\n').length + 1, 14), spellcheck: 'false' }, text)
}

function field(name, required, schema, control) {
  const title = [h('code', {}, name), required && h('span', { class: 'required' }, ' required')]
  return h(
    'div',
    {},
    h('dt', {}, control ? h('label', { for: control.id }, title) : title),
    h('dd', {}, control, prose(schema.description), h('p', { class: 'quiet' }, rules(schema))),
  )
}

function answer({ status, reason, headers, text, json, milliseconds }, call, takesKey) {
  return [
    h('p', { class: status < 400 ? 'good' : 'bad' }, h('strong', {}, `${status} ${reason}`), ` in ${milliseconds} ms`),
    h('pre', { tabindex: 0, 'aria-label': 'The body of the answer' }, h('code', {}, json === undefined ? text : JSON.stringify(json, null, 2))),
    h('details', {}, h('summary', {}, 'Headers'), h('pre', {}, h('code', {}, [...headers].map(([name, value]) => `${name}: ${value}`).join('\n')))),
    h('details', {}, h('summary', {}, 'The call as curl'), copyable('The call', curl(call, takesKey))),
  ]
}

/** Each answer that is no error with its members, then the codes. */
function answers(responses, schemas, isShared) {
  const all = Object.entries(responses)
  const successes = all.filter(([status]) => status < '400')
  const errors = all.flatMap(([status, response]) => codes(response).filter((code) => !isShared(status, code)).map((code) => [status, code]))
  return [
    successes.map(([status, response]) => {
      const members = Object.values(response.content ?? {}).flatMap(({ schema }) => (schema ? schemas.members(schema) : []))
      const own = Object.entries(response.headers ?? {}).filter(([, header]) => !header.$ref)
      return [
        h('p', {}, h('strong', {}, status), ' ', response.description),
        h('dl', { class: 'fields' }, [
          ...members.map(({ name, required, schema }) => field(name, false, schema)),
          ...own.map(([name, { description }]) => field(name, false, { description, type: 'header' })),
        ]),
      ]
    }),
    errors.length > 0 && [h('p', {}, 'Its own errors:'), codeList(errors)],
  ]
}

export const codes = (response) => Object.values(response.content ?? {}).flatMap(({ examples = {} }) => Object.keys(examples))

export function codeList(errors) {
  return h('ul', {}, errors.map(([status, code]) => h('li', {}, `${status} `, h('a', { href: `/errors/${code}` }, code))))
}
