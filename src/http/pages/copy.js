// Without a secure context (https or localhost) a page may not write to the clipboard: the button stays hidden.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll('[data-copies]')) {
    const status = button.parentElement.querySelector('[role=status]')
    button.hidden = false
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent)
      status.textContent = 'Copied'
    })
  }
}
