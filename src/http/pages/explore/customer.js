import { h } from '../element.js'
import { matchDialog } from './actions.js'
import { calls } from './api.js'
import { neighbourhoodView } from './neighbourhood.js'
import { apiCall, show } from './notices.js'
import { nameOf, time } from './person.js'
import { relationsView } from './relations.js'

/** A customer: its profile, its relations from its side, and its neighbourhood. */
export function customerView(api, cuRefNo, signal) {
  const title = h('h1', { tabindex: -1 }, cuRefNo)
  const view = h('div')
  const call = calls.detail(cuRefNo)
  show(view, 'the customer', async () => {
    const customer = (await api.call(call, signal)).json
    title.textContent = nameOf(customer)
    document.title = `${nameOf(customer)} · customer-match`
    const status = h('p', { role: 'status', class: 'done', tabindex: -1 })
    const relations = h('div')
    const neighbourhood = h('div')
    const reload = (done) => {
      if (done) {
        status.textContent = done
        // The button that had the focus is about to be replaced.
        status.focus()
      }
      relations.replaceChildren(...relationsView(api, customer, reload, signal))
      neighbourhood.replaceChildren(...neighbourhoodView(api, customer, signal))
    }
    reload()
    return [
      profile(customer),
      apiCall(call),
      h('p', {}, h('button', { type: 'button', class: 'primary', onclick: () => matchDialog(api, customer, reload) }, 'Match with another customer')),
      status,
      h('section', { 'aria-labelledby': 'relations-title' }, h('h2', { id: 'relations-title' }, 'Relations'), relations),
      h('section', { 'aria-labelledby': 'neighbourhood-title' }, h('h2', { id: 'neighbourhood-title' }, 'Neighbourhood'), neighbourhood),
    ]
  }, signal)
  return [h('p', {}, h('a', { href: '#' }, 'All customers')), title, view]
}

function profile(customer) {
  const members = {
    Reference: h('code', {}, customer.cuRefNo),
    'E-mail address': customer.email,
    Name: [customer.firstName, customer.lastName].filter(Boolean).join(' '),
    Company: customer.companyName,
    Phone: customer.phone,
    'Registration number': customer.companyRegistrationNumber,
    'Tax number': customer.taxIdentificationNumber,
    Created: time(customer.createdAt),
    Changed: customer.updatedAt !== customer.createdAt && time(customer.updatedAt),
  }
  return h('dl', {}, Object.entries(members).filter(([, value]) => value).map(([title, value]) => [h('dt', {}, title), h('dd', {}, value)]))
}
