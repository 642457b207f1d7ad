import { curl } from '../call.js'
import { copyable } from '../copy.js'
import { h } from '../element.js'

/** What stands in place of data: while they are loaded, if there are none, and if they could not be loaded. */
export const loading = (what) => h('p', { class: 'quiet', role: 'status' }, `Loading ${what}…`)

export const empty = (...children) => h('p', { class: 'empty' }, ...children)

export function failure(error, retry) {
  return h(
    'div',
    { class: 'failure', role: 'alert' },
    h('p', {}, h('strong', { class: 'bad' }, error.message)),
    error.code && h('p', {}, 'The code is ', h('a', { href: `/errors/${error.code}` }, error.code), '; its page says what to do.'),
    retry && h('button', { type: 'button', onclick: retry }, 'Try again'),
  )
}

/** The call behind something, to copy. */
export function apiCall(...calls) {
  return h('details', { class: 'call' }, h('summary', {}, 'API call'), calls.map((call) => copyable('The call', curl(call))))
}

/** The last load of each element. */
const lastLoads = new WeakMap()

/**
 * Fills an element with what is loaded, and with its states until then. A load that was aborted, or is not the element's last, leaves it
 * as it is: answers come in any order.
 */
export async function show(element, what, load, signal) {
  const isOutdated = () => signal.aborted || lastLoads.get(element) !== load
  lastLoads.set(element, load)
  element.replaceChildren(loading(what))
  element.setAttribute('aria-busy', 'true')
  try {
    const loaded = await load()
    if (isOutdated()) return
    element.replaceChildren(...[loaded].flat(Infinity).filter(Boolean))
  } catch (error) {
    if (isOutdated()) return
    element.replaceChildren(failure(error, () => show(element, what, load, signal)))
  }
  element.removeAttribute('aria-busy')
}
