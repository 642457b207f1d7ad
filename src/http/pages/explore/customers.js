import { h } from '../element.js'
import { calls } from './api.js'
import { apiCall, empty, show } from './notices.js'
import { Pager } from './pager.js'
import { link } from './person.js'
import { table } from './table.js'

const TITLES = ['Customer', 'Company', 'E-mail address', 'Reference']
const REFERENCE = /^[A-Za-z0-9]{16}$/

/** The customers of the organisation, with a search. */
export function customersView(api, signal) {
  const found = h('div')
  const search = h('input', { id: 'search', type: 'search', autocomplete: 'off', maxlength: 254 })
  const pager = new Pager(load)

  async function load() {
    const query = search.value.trim()
    const call = calls.customers(query, pager.cursor)
    await show(found, 'customers', async () => {
      const { items, nextCursor } = (await api.call(call, signal)).json
      const byReference = REFERENCE.test(query) && pager.isFirst && [h('p', {}, 'Is that a reference number? ', link({ cuRefNo: query }, `Open customer ${query}`))]
      return [byReference, items.length > 0 ? table('In the order of their reference numbers', TITLES, rowsOf(items)) : nothing(query, nextCursor), pager.buttons(nextCursor), apiCall(call)]
    }, signal)
  }

  const submit = (event) => {
    event.preventDefault()
    pager.restart()
  }
  pager.restart()
  return [
    h('h1', { tabindex: -1 }, 'Customers'),
    h('form', { class: 'search', role: 'search', onsubmit: submit },
      h('label', { for: 'search' }, 'A part of a name, a company or an e-mail address, or a whole reference number'),
      h('div', {}, search, h('button', {}, 'Find'))),
    found,
  ]
}

const rowsOf = (items) => items.map((customer) => [link(customer), customer.companyName, customer.email, h('code', {}, customer.cuRefNo)])

function nothing(query, nextCursor) {
  if (nextCursor) return empty('None on this page; the search goes on with the next.')
  if (query) return empty(`No customer has “${query}” in its name, its company or its e-mail address. Try a shorter part of it, or leave the field empty to see all.`)
  return empty('This organisation has no customers yet. Create one with ', h('a', { href: '/docs#createCustomer' }, 'POST /api/v1/customer/create'), ', import a file with ', h('code', {}, 'customer-match customer import'), ', or match a manager with a new e-mail address.')
}
