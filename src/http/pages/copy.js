import { h } from './element.js'

/** A text to copy, with a button for it. */
export function copyable(label, text) {
  return h('figure', {}, h('pre', { 'aria-label': label }, h('code', {}, text)), copyButton(() => text))
}

/** A button that copies a text. Without a secure context (https or localhost) a page may not write to the clipboard: no button. */
export function copyButton(text) {
  if (!navigator.clipboard) return []
  const status = h('span', { class: 'quiet', role: 'status' })
  const copy = async () => {
    await navigator.clipboard.writeText(text())
    status.textContent = 'Copied'
  }
  return [h('button', { type: 'button', onclick: copy }, 'Copy'), ' ', status]
}
