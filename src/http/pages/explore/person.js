import { h } from '../element.js'

/** What to call a customer: its name, else its company, its e-mail address, its reference. */
export function nameOf({ firstName, lastName, companyName, email, cuRefNo }) {
  return [firstName, lastName].filter(Boolean).join(' ') || companyName || email || cuRefNo
}

export const link = (customer, text = nameOf(customer)) => h('a', { href: `#${customer.cuRefNo}` }, text)

export function time(text) {
  return text && h('time', { datetime: text, title: text }, new Date(text).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }))
}

/** What the customer of that role is, from the other side. */
export const roles = { customer: 'customer', manager: 'manager', both: 'manager and customer' }
