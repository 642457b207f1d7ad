import { send } from '../call.js'

const customer = '/api/v1/customer'
const get = (path, query) => ({ method: 'GET', path: customer + path, query })
const post = (path, body, headers) => ({ method: 'POST', path: customer + path, body, headers })

/** The calls that this page makes, each as call.js takes it. */
export const calls = {
  customers: (query, cursor) => get('/list', { query, cursor, limit: 20 }),
  detail: (cuRefNo) => get('/detail', { cuRefNo }),
  relations: (cuRefNo, { query, cursor, limit }) => get('/matched-customer-list', { cuRefNo, query, cursor, limit }),
  relation: (managerCuRefNo, customerCuRefNo) => get('/relation', { managerCuRefNo, customerCuRefNo }),
  match: (body, condition) => post('/customer-match-customer', body, condition),
  unmatch: (body, condition) => post('/customer-unmatch-customer', body, condition),
}

/** An answer that is an error, or none. */
export class ApiError extends Error {
  constructor(description, { code, status, json, headers } = {}) {
    super(description)
    Object.assign(this, { code, status, json, headers })
  }
}

/** The API with a key, which is nowhere but here. */
export class Api {
  #key

  constructor(key) {
    this.#key = key
  }

  /** Answers that are no errors; the others are thrown. */
  async call(call, signal) {
    let answer
    try {
      answer = await send(call, this.#key, signal)
    } catch (error) {
      if (signal?.aborted) throw error
      throw new ApiError('No answer came. Is the server running, and can this computer reach it?')
    }
    if (answer.status < 400) return answer
    const { code, message, description } = answer.json?.error ?? {}
    throw new ApiError(description || message || `The server answered ${answer.status}.`, { ...answer, code })
  }
}
