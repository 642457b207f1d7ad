import { h } from '../element.js'
import { ApiError, calls } from './api.js'
import { apiCall, failure, loading } from './notices.js'
import { nameOf, roles, time } from './person.js'

let dialogs = 0

/** Matches the customer with another one, unless they have a relation: that would be changed unseen. */
export function matchDialog(api, customer, done) {
  const role = choice('What is the other one?', [['customer', 'the customer; this one is the manager'], ['manager', 'the manager; this one is the customer']])
  const other = h('input', { id: 'other', required: true, autocomplete: 'off', spellcheck: 'false' })
  const notice = h('textarea', { id: 'notice', rows: 4, maxlength: 10000 })
  const body = () => {
    const [named, text] = [other.value.trim(), notice.value]
    const isEmail = named.includes('@')
    const withNotice = text && { notice: text }
    if (role.value() === 'customer') return { managerCuRefNo: customer.cuRefNo, ...(isEmail ? { customerEmail: named } : { customerCuRefNo: named }), ...withNotice }
    return { managerCuRefNo: named, customerCuRefNo: customer.cuRefNo, ...withNotice }
  }
  openDialog({
    title: `Match ${nameOf(customer)}`,
    content: [
      h('label', { for: 'other' }, 'Reference number of the other one, or the e-mail address of a customer'),
      other,
      h('p', { class: 'quiet' }, 'For an e-mail address that no customer has, a guest customer is created.'),
      role.element,
      h('label', { for: 'notice' }, 'Notice, which both can see'),
      notice,
    ],
    action: 'Match',
    condition: { 'If-None-Match': '*' },
    call: (condition) => calls.match(body(), condition),
    run: (call) => api.call(call),
    done: () => done(`Matched with ${other.value.trim()}.`),
  })
}

/** Edits the notice of the relation as it is now. */
export function noticeDialog(api, customer, item, done) {
  const notice = h('textarea', { id: 'notice', rows: 6, maxlength: 10000 })
  openDialog({
    title: `Notice of ${nameOf(customer)} and ${nameOf(item)}`,
    content: [h('label', { for: 'notice' }, 'Both can see it; an empty one is none'), notice],
    action: 'Save',
    load: async (signal) => {
      const answer = await api.call(calls.relation(customer.cuRefNo, item.cuRefNo), signal)
      notice.value = answer.json.relation.notice ?? ''
      return answer
    },
    call: (condition, relation) => calls.match({ ...directed(relation), notice: notice.value }, condition),
    run: (call) => api.call(call),
    done: () => done(`The notice about ${nameOf(item)} is saved.`),
  })
}

/** Ends the relation as it is now. */
export function unmatchDialog(api, customer, item, done) {
  openDialog({
    title: `Unmatch ${nameOf(customer)} and ${nameOf(item)}`,
    content: [h('p', {}, 'Neither will be in the list of the other. The notice is kept: a new match brings it back.')],
    action: 'Unmatch',
    load: (signal) => api.call(calls.relation(customer.cuRefNo, item.cuRefNo), signal),
    call: (condition, relation) => calls.unmatch(directed(relation), condition),
    run: (call) => api.call(call),
    done: () => done(`${nameOf(customer)} and ${nameOf(item)} are unmatched.`),
  })
}

/** The pair with its manager first: a match in the other direction would make both of them managers. */
function directed({ managerCuRefNo, customerCuRefNo, role }) {
  return role === 'manager' ? { managerCuRefNo: customerCuRefNo, customerCuRefNo: managerCuRefNo } : { managerCuRefNo, customerCuRefNo }
}

/**
 * A dialog for one write. It is sent only on the condition that the relation is as it was loaded; what another client has changed
 * meanwhile is shown, and overwritten only if that is asked for after that.
 */
function openDialog({ title, content, action, condition, load, call, run, done }) {
  const id = `dialog-${++dialogs}`
  const aborted = new AbortController()
  let relation
  const button = h('button', { class: 'primary' }, action)
  const state = h('div', { 'aria-live': 'polite' })
  const code = h('div')
  const showCall = () => code.replaceChildren(apiCall(call(condition, relation)))
  const form = h('form', { onsubmit: submit, oninput: showCall }, content, state, button, ' ', h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), code)
  const dialog = h('dialog', { 'aria-labelledby': id, onclose: close }, h('h2', { id }, title), form)
  document.body.append(dialog)
  dialog.showModal()
  if (load) read()
  else showCall()

  async function read() {
    form.inert = true
    state.replaceChildren(loading('the relation'))
    try {
      const { headers, json } = await load(aborted.signal)
      relation = json.relation
      condition = { 'If-Match': headers.get('ETag') }
      state.replaceChildren()
      button.disabled = false
      showCall()
    } catch (error) {
      if (!aborted.signal.aborted) state.replaceChildren(failure(error, read))
      button.disabled = true
    }
    form.inert = false
    form.querySelector('input, textarea, button')?.focus()
  }

  async function submit(event) {
    event.preventDefault()
    button.disabled = true
    state.replaceChildren(h('p', {}, 'Sending…'))
    try {
      await run(call(condition, relation))
      dialog.close()
      done()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      state.replaceChildren(error.status === 412 ? conflict(error) : failure(error))
    }
    button.disabled = false
    showCall()
  }

  function conflict({ json, headers }) {
    const now = json.relation
    condition = now ? { 'If-Match': headers.get('ETag') } : { 'If-None-Match': '*' }
    relation = now ?? relation
    button.textContent = `${action} all the same`
    return h('div', { class: 'failure', role: 'alert' },
      h('p', {}, h('strong', { class: 'bad' }, load ? 'The relation has changed since it was loaded. Nothing was written.' : 'The two have a relation already. Nothing was written.')),
      now ? stateOf(now) : h('p', {}, 'There is no such relation any more.'),
      h('p', {}, `“${action} all the same” writes over that; “Cancel” leaves it.`))
  }

  function close() {
    aborted.abort()
    dialog.remove()
  }
}

function stateOf({ active, role, notice, updatedAt, endedAt, managerCuRefNo, customerCuRefNo }) {
  return h('dl', {}, [
    ['It is', active ? 'active' : ['ended ', time(endedAt)]],
    ['Roles', h('span', {}, h('code', {}, customerCuRefNo), ` is the ${roles[role]} of `, h('code', {}, managerCuRefNo))],
    ['Its notice', notice ? h('span', { class: 'notice' }, notice) : 'none'],
    ['Changed', time(updatedAt)],
  ].map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]))
}

/** Radio buttons; the first is chosen. */
function choice(legend, options) {
  const inputs = options.map(([value], index) => h('input', { type: 'radio', name: 'choice', id: `choice-${value}`, value, checked: index === 0 }))
  const element = h('fieldset', {}, h('legend', {}, legend), options.map(([, text], index) => h('div', {}, inputs[index], ' ', h('label', { for: inputs[index].id }, text))))
  return { element, value: () => inputs.find(({ checked }) => checked).value }
}
