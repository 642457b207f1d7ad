import { h, svg } from '../element.js'
import { nameOf, roles } from './person.js'

const WIDEST = 860
/** What a label needs of the ring, and what a node needs where labels have no room. */
const LABEL_SPACING = 15
const NODE_SPACING = 11

/**
 * The customer in the middle, its neighbours on rings around it, and lines for their relations. The same data give the same picture:
 * neighbours that are related to each other stand together. One node can be reached by Tab, the others by the arrow keys; Enter follows
 * its link.
 */
export function picture(customer, neighbours, ties) {
  const size = Math.min(Math.max(document.querySelector('main').clientWidth - 40, 320), WIDEST)
  const margin = size < 560 ? 92 : 160
  const radius = size / 2 - margin
  const order = grouped(neighbours.length, ties)
  const isLabelled = order.length * LABEL_SPACING <= 2 * Math.PI * radius
  const places = isLabelled ? ring(order, radius) : rings(order, size / 2 - 16)
  const middle = size / 2
  const at = (index) => ({ x: middle + places[index].x, y: middle + places[index].y })

  const description = h('p', { class: 'quiet', 'aria-hidden': 'true' }, 'Point at a node, or move to one with the arrow keys, to see what it is.')
  const spokes = neighbours.map((_, index) => svg('line', { class: 'spoke', x1: middle, y1: middle, x2: at(index).x, y2: at(index).y }))
  const arcs = ties.map(([a, b]) => {
    const [from, to] = [at(a), at(b)]
    // Bent towards the middle, so that neighbours on the ring have a line that can be seen.
    const [bendX, bendY] = [(from.x + to.x + middle) / 3, (from.y + to.y + middle) / 3]
    return svg('path', { class: 'tie', d: `M${from.x} ${from.y}Q${bendX} ${bendY} ${to.x} ${to.y}` })
  })
  const linesOf = neighbours.map((_, index) => [spokes[index], ...arcs.filter((_, arc) => ties[arc].includes(index))])

  const names = []
  const nodes = order.map((index, position) => {
    const neighbour = neighbours[index]
    const others = linesOf[index].length - 1
    const name = `${nameOf(neighbour)}, ${roles[neighbour.role]}, related to ${others} of the others`
    const light = (isLit) => () => {
      linesOf[index].forEach((line) => line.classList.toggle('lit', isLit))
      if (isLit) description.textContent = `${name}.${neighbour.notice ? ` ${neighbour.notice}` : ''}`
    }
    const pointed = { onpointerenter: light(true), onpointerleave: light(false) }
    const { x, y } = at(index)
    const href = `#${neighbour.cuRefNo}`
    if (isLabelled) names.push(label(neighbour, x, y, places[index].angle, margin, { ...pointed, onclick: () => location.assign(href) }))
    const attributes = { href, class: `node ${neighbour.role}`, tabindex: position === 0 ? 0 : -1, 'aria-label': name, onfocus: light(true), onblur: light(false) }
    return svg('a', { ...attributes, ...pointed }, shape(neighbour.role, x, y))
  })
  const drawing = svg('svg', { viewBox: `0 0 ${size} ${size}`, width: size, height: size, role: 'group', 'aria-label': `${nameOf(customer)} and ${neighbours.length} neighbours`, onkeydown: (event) => move(event, nodes) },
    spokes, arcs, nodes,
    // Shortened names are for the eye alone: the nodes have whole ones.
    svg('g', { class: 'names', 'aria-hidden': 'true' }, names),
    svg('g', { class: 'middle', 'aria-hidden': 'true' }, svg('circle', { cx: middle, cy: middle, r: 9 }), isLabelled && svg('text', { x: middle, y: middle - 14, 'text-anchor': 'middle' }, shortened(nameOf(customer), 24))))
  return [h('div', { class: 'picture' }, drawing), description, legend(customer)]
}

/** Moves the focus by the arrow keys, Home and End. */
function move(event, nodes) {
  const current = nodes.indexOf(document.activeElement)
  const steps = { ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1, ArrowUp: current - 1, Home: 0, End: -1 }
  if (current < 0 || !(event.key in steps)) return
  event.preventDefault()
  const next = nodes.at(steps[event.key] % nodes.length)
  nodes[current].setAttribute('tabindex', -1)
  next.setAttribute('tabindex', 0)
  next.focus()
}

/** The indices so that those which are related stand together: each group from its first index on, depth first, largest group first. */
function grouped(count, ties) {
  const related = Array.from({ length: count }, () => [])
  for (const [a, b] of ties) {
    related[a].push(b)
    related[b].push(a)
  }
  const seen = new Set()
  const groups = []
  for (let first = 0; first < count; first += 1) {
    const group = []
    const waiting = [first]
    while (waiting.length > 0) {
      const index = waiting.pop()
      if (seen.has(index)) continue
      seen.add(index)
      group.push(index)
      waiting.push(...related[index].toSorted((a, b) => b - a))
    }
    if (group.length > 0) groups.push(group)
  }
  return groups.toSorted((a, b) => b.length - a.length).flat()
}

/** The place of each index on a ring, from the top on. */
function ring(order, radius) {
  const places = []
  order.forEach((index, position) => {
    const angle = (2 * Math.PI * position) / order.length - Math.PI / 2
    places[index] = { angle, x: radius * Math.cos(angle), y: radius * Math.sin(angle) }
  })
  return places
}

/** The same on as many rings as are needed, the outermost first. */
function rings(order, radius) {
  const places = []
  let [rest, outer] = [order, radius]
  while (rest.length > 0) {
    const capacity = Math.max(Math.floor((2 * Math.PI * outer) / NODE_SPACING / 2), 6)
    Object.assign(places, ring(rest.slice(0, capacity), outer))
    rest = rest.slice(capacity)
    outer -= 26
  }
  return places
}

/** Roles differ by shape, not by colour alone. */
function shape(role, x, y) {
  if (role === 'customer') return svg('circle', { cx: x, cy: y, r: 6 })
  return svg('rect', { x: x - 5.5, y: y - 5.5, width: 11, height: 11, transform: role === 'both' ? `rotate(45 ${x} ${y})` : null })
}

/** Along the ray from the middle, never upside down. */
function label(neighbour, x, y, angle, margin, listeners) {
  const isLeft = Math.cos(angle) < -1e-9
  const degrees = (angle * 180) / Math.PI + (isLeft ? 180 : 0)
  return svg('text', { ...listeners, x: x + (isLeft ? -12 : 12), y: y + 4, 'text-anchor': isLeft ? 'end' : 'start', transform: `rotate(${degrees} ${x} ${y})` }, shortened(nameOf(neighbour), Math.floor((margin - 14) / 7.6)))
}

function shortened(text, length) {
  const characters = [...text]
  return characters.length > length ? `${characters.slice(0, length - 1).join('')}…` : text
}

function legend(customer) {
  const sample = (role) => svg('svg', { class: 'sample', width: 18, height: 18, 'aria-hidden': 'true' }, svg('g', { class: `node ${role}` }, shape(role, 9, 9)))
  return h('ul', { class: 'legend' }, Object.entries(roles).map(([role, text]) => h('li', {}, sample(role), ` ${text} of ${nameOf(customer)}`)))
}
