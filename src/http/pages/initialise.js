const dark = matchMedia('(prefers-color-scheme: dark)')
const followScheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
followScheme()
dark.addEventListener('change', followScheme)

const place = document.getElementById('swagger-ui')
const ui = SwaggerUIBundle({
  url: '/openapi.json',
  domNode: place,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
  onComplete: () => {
    const key = place.dataset.apiKey
    if (key) ui.preauthorizeApiKey('apiKey', key)
  },
})
