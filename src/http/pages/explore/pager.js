import { h } from '../element.js'

/** Where in a list of pages the reader is. Cursors lead forwards only, so those of the pages before are kept. */
export class Pager {
  #cursors = [undefined]

  constructor(load) {
    this.load = load
  }

  get cursor() {
    return this.#cursors.at(-1)
  }

  get isFirst() {
    return this.#cursors.length === 1
  }

  restart() {
    this.#cursors = [undefined]
    return this.load()
  }

  buttons(nextCursor) {
    if (this.isFirst && !nextCursor) return false
    const previous = () => {
      this.#cursors.pop()
      this.load()
    }
    const next = () => {
      this.#cursors.push(nextCursor)
      this.load()
    }
    return h('p', { class: 'pager' },
      h('button', { type: 'button', disabled: this.isFirst, onclick: previous }, 'Previous page'),
      ' ',
      h('button', { type: 'button', disabled: !nextCursor, onclick: next }, 'Next page'),
      ' ',
      h('span', { class: 'quiet' }, `Page ${this.#cursors.length}`))
  }
}
