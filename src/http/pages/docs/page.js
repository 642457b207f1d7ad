import { h } from '../element.js'
import { codeList, codes, operation } from './operation.js'
import { prose } from './prose.js'
import { Schemas } from './schema.js'

const main = document.getElementById('operations')
document.getElementById('key-form').addEventListener('submit', (event) => event.preventDefault())
try {
  const response = await fetch('/openapi.json')
  if (!response.ok) throw new Error(`the server answered ${response.status}`)
  main.replaceChildren(...page(await response.json()))
} catch (error) {
  main.replaceChildren(h('p', { class: 'bad' }, `The description of the API did not load: ${error.message}. Load the page again.`))
}
main.removeAttribute('aria-busy')
// The target was not there when the browser looked for it.
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView()

function page(api) {
  const schemas = new Schemas(api)
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, description]) => ({
      method: method.toUpperCase(),
      path,
      id: description['x-operation-name'],
      takesKey: !description.security?.some((scheme) => Object.keys(scheme).length === 0),
      description,
    })),
  )
  const keyed = operations.filter(({ takesKey }) => takesKey)
  const errors = ({ description }) => Object.entries(description.responses).flatMap(([status, response]) => codes(response).map((code) => `${status} ${code}`))
  const [first, ...others] = keyed.map((one) => new Set(errors(one)))
  const shared = [...first].filter((error) => others.every((one) => one.has(error)))

  return [
    h('nav', { 'aria-label': 'Operations' }, h('ul', {}, operations.map(({ method, path, id, description }) =>
      h('li', {}, h('a', { href: `#${id}` }, h('span', { class: 'method' }, method), ' ', h('code', {}, path)), h('span', { class: 'quiet' }, ` ${description.summary ?? ''}`))))),
    h('details', {}, h('summary', {}, 'What all calls have in common'),
      prose(api.info.description),
      h('p', {}, 'Headers of answers:'),
      h('dl', { class: 'fields' }, Object.entries(api.components.headers).map(([name, { description, schema }]) =>
        h('div', {}, h('dt', {}, h('code', {}, name)), h('dd', {}, prose(description), h('p', { class: 'quiet' }, 'such as ', h('code', {}, String(schema.examples[0]))))))),
      h('p', {}, 'Errors of every call with a key:'),
      codeList(shared.map((error) => error.split(' ')))),
    ...operations.map((one) => operation(one, schemas, (status, code) => shared.includes(`${status} ${code}`))),
  ]
}
