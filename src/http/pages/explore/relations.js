import { h } from '../element.js'
import { noticeDialog, unmatchDialog } from './actions.js'
import { calls } from './api.js'
import { apiCall, empty, show } from './notices.js'
import { Pager } from './pager.js'
import { link, nameOf, roles, time } from './person.js'
import { table } from './table.js'

const TITLES = ['Customer', 'It is the', 'Notice', 'Matched', 'Changed', 'Actions']

/** The relations of a customer from its side, newest first, with pages and a filter. */
export function relationsView(api, customer, changed, signal) {
  const found = h('div')
  const filter = h('input', { id: 'filter', type: 'search', autocomplete: 'off', maxlength: 254 })
  const pager = new Pager(load)

  async function load() {
    const query = filter.value.trim()
    const call = calls.relations(customer.cuRefNo, { query, cursor: pager.cursor, limit: 20 })
    await show(found, 'relations', async () => {
      const { items, itemCount, itemCountExact, nextCursor } = (await api.call(call, signal)).json
      const count = `${itemCountExact ? '' : 'at least '}${itemCount.toLocaleString('en')} active, newest first`
      return [items.length > 0 ? table(count, TITLES, items.map(rowOf)) : nothing(query, nextCursor), pager.buttons(nextCursor), apiCall(call)]
    }, signal)
  }

  const button = (name, action, item) => h('button', { type: 'button', 'aria-label': `${name}: ${nameOf(item)}`, onclick: () => action(api, customer, item, changed) }, name)
  const rowOf = (item) => [
    [link(item), item.email && item.email !== nameOf(item) && h('div', { class: 'quiet' }, item.email)],
    roles[item.role],
    item.notice && h('span', { class: 'notice' }, item.notice),
    time(item.matchedAt),
    item.updatedAt !== item.matchedAt && time(item.updatedAt),
    h('div', { class: 'actions' }, button('Edit notice', noticeDialog, item), ' ', button('Unmatch', unmatchDialog, item)),
  ]

  const submit = (event) => {
    event.preventDefault()
    pager.restart()
  }
  pager.restart()
  return [
    h('form', { class: 'search', role: 'search', 'aria-label': 'Relations', onsubmit: submit },
      h('label', { for: 'filter' }, 'Only those with this in the name, the company or the e-mail address'),
      h('div', {}, filter, h('button', {}, 'Filter'))),
    found,
  ]
}

function nothing(query, nextCursor) {
  if (nextCursor) return empty('None on this page; the filter goes on with the next.')
  if (query) return empty(`No relation matches “${query}”. Empty the filter to see all.`)
  return empty('It has no active relations. Match it with another customer: the button is above.')
}
