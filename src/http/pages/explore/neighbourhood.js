import { h } from '../element.js'
import { calls } from './api.js'
import { apiCall, empty, show } from './notices.js'
import { link, nameOf, roles } from './person.js'
import { picture } from './picture.js'
import { table } from './table.js'

/** With the customer itself, a picture has 200 nodes. */
const NEIGHBOURS = 199
/** As many lists are read without being asked for. */
const READ_UNASKED = 40
const CALLS_AT_ONCE = 4
const LONGEST_PAGE = 500

/** The customer, its relations, and how these are related among each other. */
export function neighbourhoodView(api, customer, signal) {
  const view = h('div')
  show(view, 'the neighbourhood', async () => {
    const { neighbours, total, atLeast, call } = await nearest(api, customer, signal)
    if (neighbours.length === 0) return empty('It has no neighbours yet. They appear here once it is matched.')
    const drawing = h('div')
    const progress = h('div', { class: 'progress' })
    const draw = (ties) => drawing.replaceChildren(...picture(customer, neighbours, ties), inWords(neighbours, ties))
    const read = () => readTies(api, neighbours, progress, draw, signal)
    draw([])
    if (neighbours.length <= READ_UNASKED) read()
    else progress.replaceChildren(h('button', { type: 'button', onclick: read }, `Read how they are related among each other (${neighbours.length} calls)`))
    const leftOut = total > neighbours.length && h('p', {}, `The newest ${neighbours.length} of ${atLeast ? 'at least ' : ''}${total.toLocaleString('en')} relations are shown; the others are left out.`)
    return [leftOut, progress, drawing, apiCall(call, calls.relations(neighbours[0].cuRefNo, { limit: LONGEST_PAGE }))]
  }, signal)
  return [view]
}

/** The newest relations; a page may be shorter than its limit. */
async function nearest(api, { cuRefNo }, signal) {
  const call = calls.relations(cuRefNo, { limit: NEIGHBOURS })
  const neighbours = []
  let page = (await api.call(call, signal)).json
  const { itemCount, itemCountExact } = page
  neighbours.push(...page.items)
  while (page.nextCursor && neighbours.length < NEIGHBOURS) {
    const rest = { cursor: page.nextCursor, limit: NEIGHBOURS - neighbours.length }
    page = (await api.call(calls.relations(cuRefNo, rest), signal)).json
    neighbours.push(...page.items)
  }
  return { neighbours, total: itemCount, atLeast: !itemCountExact, call }
}

/**
 * Reads the list of each neighbour, its newest relations alone, and draws how they are related among each other. A relation is found
 * from either side, so only one of two long lists can be missing.
 */
async function readTies(api, neighbours, progress, draw, signal) {
  const stopped = new AbortController()
  const either = AbortSignal.any([signal, stopped.signal])
  const bar = h('progress', { max: neighbours.length, value: 0, 'aria-label': 'Lists read' })
  const text = h('span', { role: 'status' }, `Reading ${neighbours.length} lists…`)
  progress.replaceChildren(bar, ' ', text, ' ', h('button', { type: 'button', onclick: () => stopped.abort() }, 'Stop'))

  const indices = new Map(neighbours.map(({ cuRefNo }, index) => [cuRefNo, index]))
  const ties = new Map()
  const cut = []
  const waiting = neighbours.entries()
  const readRest = async () => {
    for (const [index, neighbour] of waiting) {
      const { items, nextCursor } = (await patiently(() => api.call(calls.relations(neighbour.cuRefNo, { limit: LONGEST_PAGE }), either), text, either)).json
      for (const item of items) {
        const other = indices.get(item.cuRefNo)
        if (other !== undefined) ties.set([index, other].sort((a, b) => a - b).join(), [Math.min(index, other), Math.max(index, other)])
      }
      if (nextCursor) cut.push(neighbour)
      bar.value += 1
    }
  }
  let problem
  try {
    await Promise.all(Array.from({ length: CALLS_AT_ONCE }, readRest))
  } catch (error) {
    if (signal.aborted) return
    problem = stopped.signal.aborted ? 'Stopped' : error.message
    // The others need not go on.
    stopped.abort()
  }
  // Answers come in any order.
  draw([...ties.values()].sort(([a, b], [c, d]) => a - c || b - d))
  const count = `${ties.size} ${ties.size === 1 ? 'relation' : 'relations'} among ${neighbours.length} neighbours.`
  const missing = cut.length > 0 && ` ${cut.length} of them have more than ${LONGEST_PAGE} relations, of which the newest were read: relations between two of those may be missing.`
  progress.replaceChildren(
    h('p', { role: 'status' }, problem ? `${problem}: ${bar.value} of ${neighbours.length} lists were read, so relations may be missing. ` : '', count, missing),
    problem ? h('button', { type: 'button', onclick: () => readTies(api, neighbours, progress, draw, signal) }, 'Read them again') : '',
  )
}

/** Waits as long as the server says when the key's limit is used up or the server is busy. */
async function patiently(call, text, signal) {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      const seconds = Number(error.headers?.get('Retry-After'))
      if (!seconds) throw error
      text.textContent = `The server asks for a pause of ${seconds} s…`
      await pause(seconds * 1000, signal)
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
}

/** The picture in words. */
function inWords(neighbours, ties) {
  const related = neighbours.map(() => [])
  for (const [a, b] of ties) {
    related[a].push(b)
    related[b].push(a)
  }
  const names = (others) => (others.length > 0 ? others.map((other) => nameOf(neighbours[other])).join(', ') : 'none of the others')
  const rows = neighbours.map((neighbour, index) => [link(neighbour), roles[neighbour.role], names(related[index])])
  return h('details', {}, h('summary', {}, 'The picture as a table'), table(false, ['Neighbour', 'It is the', 'Related to'], rows))
}
