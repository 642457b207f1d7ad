import { h } from '../element.js'

/**
 * A table whose first column names its rows. On a narrow screen its rows are cards (page.css), so the roles that its elements lose there
 * are given, and each cell has its title.
 */
export function table(caption, titles, rows) {
  return h('table', { role: 'table' },
    caption && h('caption', {}, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, titles.map((title) => h('th', { scope: 'col', role: 'columnheader' }, title)))),
    h('tbody', { role: 'rowgroup' }, rows.map(([name, ...cells]) => h('tr', { role: 'row' },
      h('th', { scope: 'row', role: 'rowheader' }, name),
      cells.map((cell, index) => h('td', { role: 'cell', 'data-title': titles[index + 1] }, cell))))))
}
