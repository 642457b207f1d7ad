import { h } from '../element.js'
import { Api } from './api.js'
import { customerView } from './customer.js'
import { customersView } from './customers.js'

const view = document.getElementById('view')
const form = document.getElementById('key-form')
const input = document.getElementById('key')
const inUse = document.getElementById('key-in-use')

let api
let shown = new AbortController()

form.append(h('button', { class: 'primary' }, 'Look around'))
form.addEventListener('submit', (event) => {
  event.preventDefault()
  if (input.value.trim()) useKey(input.value.trim())
})
addEventListener('hashchange', () => render(true))
// On a demo server the sample key is filled in.
if (input.value) useKey(input.value)
else render(false)

/** The key leaves the field for a variable of this page, and is shown by its ends alone. */
function useKey(key) {
  api = new Api(key)
  input.value = ''
  form.hidden = true
  inUse.replaceChildren('Key ', h('code', {}, `${key.slice(0, 4)}…${key.slice(-4)}`), ' ', h('button', { type: 'button', onclick: forgetKey }, 'Forget it'))
  render(true)
}

function forgetKey() {
  api = undefined
  form.hidden = false
  inUse.replaceChildren()
  render(false)
  input.focus()
}

/** The customer that the fragment of the URL names, or else all of them. The fragment never leaves the browser. */
function render(takesFocus) {
  shown.abort()
  shown = new AbortController()
  document.title = 'Explore · customer-match'
  if (!api) {
    view.replaceChildren(h('h1', {}, 'Explore'), h('p', {}, 'See the customers of an organisation and their relations, from both sides. Paste an API key of the organisation: with scopes it needs ', h('code', {}, 'customer.read'), ' to look, and ', h('code', {}, 'customer.match'), ' to match and unmatch.'))
    return
  }
  const cuRefNo = location.hash.slice(1)
  view.replaceChildren(...(cuRefNo ? customerView(api, cuRefNo, shown.signal) : customersView(api, shown.signal)))
  if (takesFocus) view.querySelector('h1')?.focus()
  scrollTo(0, 0)
}
