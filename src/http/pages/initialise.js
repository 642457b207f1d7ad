const dark = matchMedia('(prefers-color-scheme: dark)')
const followScheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
followScheme()
dark.addEventListener('change', followScheme)

const container = document.getElementById('swagger-ui')
const ui = SwaggerUIBundle({
  url: '/openapi.json',
  domNode: container,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
  onComplete: () => {
    const key = container.dataset.apiKey
    if (key) ui.preauthorizeApiKey('bearer', key)
  },
})
