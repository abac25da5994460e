/* Draws a Plotly map in place. Streamlit's own chart is mounted anew whenever its data changed, and the reader's zoom is
   gone; here the same map gets its new data, and the view that the reader has moved to.

   data: UTF-8 bytes of JSON with `figure`, a Plotly figure with a `layout.map`, and `words`: config (Plotly's), library
   (where plotly.js is, beside the page), height (pixels), view (the reader's view is kept while this stays the same), alt,
   failure (what is written where the map cannot be drawn), step (reported `after` milliseconds after it was drawn). */

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

async function draw(map, { data, layout }, { config, library, view }) {
  const Plotly = await load(library)
  if (map.view !== view) map.moved = {} // other places: the browser fits the map to them
  map.view = view
  Object.assign(layout.map, map.moved)
  const drawn = Plotly.react(map.element, data, themed(layout, map.element), config)
  if (!map.isWatched) watch(map, Plotly) // at once: it may be moved before it is complete
  await drawn
}

function watch(map, Plotly) {
  map.isWatched = true
  map.element.on("plotly_relayout", (change) => {
    const { center, zoom } = map.element._fullLayout.map // a button reports the zoom alone
    if ("map.zoom" in change || "map.center" in change) map.moved = { center, zoom }
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
  return { element, moved: {}, isWatched: false, timer: undefined }
}

const maps = new WeakMap()

export default function ({ parentElement, data, setTriggerValue }) {
  if (!maps.has(parentElement)) maps.set(parentElement, mount(parentElement))
  const map = maps.get(parentElement)
  const { figure, words } = JSON.parse(new TextDecoder().decode(data))
  map.element.setAttribute("aria-label", words.alt)
  map.element.style.minHeight = `${words.height}px`
  clearTimeout(map.timer)
  draw(map, figure, words)
    .catch((error) => {
      console.warn(error)
      if (map.element.querySelector("canvas")) return // it stands: only its tiles are out of reach
      window.Plotly?.purge(map.element)
      map.element.textContent = words.failure
    })
    .finally(() => {
      if (words.step !== null) map.timer = setTimeout(() => setTriggerValue("step", words.step), words.after)
    })
  return () => clearTimeout(map.timer)
}
