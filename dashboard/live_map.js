/* Draws a Plotly map in place. Streamlit's own chart is mounted anew whenever its data changed, and the reader's zoom is
   gone; here the same map gets its new data, and the view that the reader has moved to.

   data: UTF-8 bytes of JSON with `figure`, a Plotly figure with a `layout.map`, and `words`: config (Plotly's), library
   (where plotly.js is, beside the page), height (pixels), view (the reader's view is kept while this stays the same),
   numbersFrom (texts are drawn from so many zoom levels nearer than the whole on; 0: always), alt, failure (what is
   written where the map cannot be drawn), step (reported `after` milliseconds after it was drawn). Without a figure the
   library is loaded, and nothing drawn. */

let library

function load(path) {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script")
    script.src = new URL(path, document.baseURI)
    script.onload = () => resolve(window.Plotly)
    script.onerror = () => {
      library = undefined // the next refresh tries again
      script.remove()
      reject(new Error(`${script.src} could not be loaded`))
    }
    document.head.append(script)
  })
  return library
}

/* As Streamlit draws its own charts, in the reader's theme. */
function themed(layout, element) {
  const style = getComputedStyle(element)
  const [family, color, ground] = ["font", "text-color", "background-color"].map((name) =>
    style.getPropertyValue(`--st-${name}`).trim(),
  )
  return {
    ...layout,
    autosize: true,
    font: { family, color, size: 12 },
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    modebar: { bgcolor: "rgba(0, 0, 0, 0)", color, activecolor: color },
    hoverlabel: { ...layout.hoverlabel, bgcolor: ground, bordercolor: color, font: { family, color, size: 13 } },
  }
}

async function draw(map, { data, layout }, { config, library, view, numbersFrom }) {
  const Plotly = await load(library)
  if (map.view !== view) map.isFitted = false // other places: the browser fits the map to them
  map.view = view
  if (map.isFitted) Object.assign(layout.map, whereItIs(map))
  map.hasNumbers = isNear(map, numbersFrom)
  const shown = map.hasNumbers ? data : data.map((trace) => ({ ...trace, mode: trace.mode && "markers" }))
  const drawn = Plotly.react(map.element, shown, themed(layout, map.element), config)
  if (!map.isWatched) watch(map, Plotly)
  await drawn
  if (!map.isFitted) map.whole = whereItIs(map).zoom
  map.isFitted = true
}

/* Of thousands of places few numbers could be read from far away, and to place all of them takes longer than the rest. */
function isNear(map, numbersFrom) {
  return numbersFrom === 0 || (map.isFitted && whereItIs(map).zoom >= map.whole + numbersFrom)
}

function whereItIs({ element }) {
  const shown = element._fullLayout.map._subplot.map
  const { lng, lat } = shown.getCenter()
  return { center: { lon: lng, lat }, zoom: shown.getZoom() }
}

function watch(map, Plotly) {
  map.isWatched = true
  map.element.on("plotly_relayout", () => {
    if (map.isFitted && isNear(map, map.drawn.words.numbersFrom) !== map.hasNumbers) drawInTurn(map, map.next ?? map.drawn)
  })
  let width = map.element.offsetWidth
  new ResizeObserver(() => {
    if (map.element.offsetWidth === width || map.element.offsetWidth === 0) return // the same, or out of sight
    width = map.element.offsetWidth
    Plotly.Plots.resize(map.element)
  }).observe(map.element)
}

function mount(parent) {
  const element = document.createElement("div")
  element.setAttribute("role", "figure")
  parent.append(element)
  return { element, isFitted: false, isWatched: false, timer: undefined }
}

const maps = new WeakMap()

const PATIENCE = 10000 // milliseconds; a map that is out of sight may never be complete

/* One draw after the other, of which only the newest that waits counts: Plotly fails where it is given new data before
   the map's style is there. */
function drawInTurn(map, asked) {
  map.next = asked
  map.drawing ??= (async () => {
    while (map.next) {
      const { figure, words } = (map.drawn = map.next)
      map.next = undefined
      const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE))
      await Promise.race([draw(map, figure, words).catch((error) => fail(map, error, words)), patience])
    }
  })().finally(() => {
    map.drawing = undefined
  })
  return map.drawing
}

function fail(map, error, { failure }) {
  console.warn(error)
  map.isFitted = map.element.querySelector("canvas") !== null
  if (map.isFitted) return // it stands: only its tiles are out of reach
  window.Plotly?.purge(map.element)
  map.element.textContent = failure
}

export default function ({ parentElement, data, setTriggerValue }) {
  const { figure, words } = JSON.parse(new TextDecoder().decode(data))
  if (!figure) return void load(words.library).catch(console.warn) // the map that needs it tries again
  if (!maps.has(parentElement)) maps.set(parentElement, mount(parentElement))
  const map = maps.get(parentElement)
  map.element.setAttribute("aria-label", words.alt)
  map.element.style.minHeight = `${words.height}px`
  clearTimeout(map.timer)
  drawInTurn(map, { figure, words }).then(() => {
    if (words.step === null) return
    clearTimeout(map.timer)
    map.timer = setTimeout(() => setTriggerValue("step", words.step), words.after)
  })
  return () => clearTimeout(map.timer)
}
