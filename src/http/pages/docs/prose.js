import { h } from '../element.js'

/** Paragraphs of the document: of Markdown what it uses, `code` and [links](/errors). */
export function prose(text = '') {
  return text.split(/\n{2,}/).filter(Boolean).map((paragraph) => h('p', {}, paragraph.split(/(`[^`]+`|\[[^\]]+\]\([^)]+\))/).map(inline)))
}

function inline(part) {
  const link = /^\[(.+)\]\((.+)\)$/.exec(part)
  if (link) return h('a', { href: link[2] }, link[1])
  return part.startsWith('`') ? h('code', {}, part.slice(1, -1)) : part
}
