import { copyButton } from './copy.js'

for (const figure of document.querySelectorAll('figure')) {
  figure.append(...copyButton(() => figure.querySelector('pre').textContent))
}
