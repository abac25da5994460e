/* Draws a Plotly map in place. Streamlit's own chart is mounted anew whenever its data changed, and the reader's zoom is
   gone; here the same map gets its new data, and the view that the reader has moved to.

   data: UTF-8 bytes of JSON with `figure`, a Plotly figure with a `layout.map`, and `words`: config (Plotly's), library
   (where plotly.js is, beside the page), height (pixels), view (the reader's view is kept while this stays the same), alt,
   failure (what is written where the map cannot be drawn), step (reported `after` milliseconds after it was drawn).
   `figure.layout.meta` has `legend`, a list of {label, colour}, and `bounds`: south, north, west and east of the first
   view. Without a figure the library is loaded, for the maps that will come. */

const VALUES = "values" // name of the traces whose points are the places
const LEGIBLE = 150 // numbers in sight; more would only cover each other
const NUMBERS = "numbers" // id of their source and layer
const EDGE = 20 // pixels around the first view

/* Whoever asks first loads it, for all maps of the page. */
function load(path) {
  window.livePlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script")
    script.src = new URL(path, document.baseURI)
    script.onload = () => resolve(window.Plotly)
    script.onerror = () => {
      window.livePlotly = undefined // the next refresh tries again
      script.remove()
      reject(new Error(`${script.src} could not be loaded`))
    }
    document.head.append(script)
  })
  return window.livePlotly
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
  if (map.view !== view) map.isFitted = false // other places: the map is fitted to them
  map.view = view
  Object.assign(layout.map, map.isFitted ? whereItIs(map) : fitted(layout, map.element))
  const drawn = Plotly.react(map.element, data, themed(layout, map.element), config)
  if (!map.isWatched) watch(map, Plotly)
  await drawn
  map.isFitted = true
  if (map.followed !== inner(map)) inner(map).on("moveend", () => map.drawing || writeNumbers(map))
  map.followed = inner(map)
  writeNumbers(map)
}

/* MapLibre's map under Plotly's. */
function inner({ element }) {
  return element._fullLayout.map._subplot.map
}

function whereItIs(map) {
  const { lng, lat } = inner(map).getCenter()
  return { center: { lon: lng, lat }, zoom: inner(map).getZoom() }
}

/* Centre and zoom that show the bounds, in Mercator's projection, where the world is 512 * 2^zoom pixels wide. */
function fitted({ height, margin, meta }, element) {
  const [south, north, west, east] = meta.bounds
  const up = (lat) => Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360)) / (2 * Math.PI)
  const room = [(element.offsetWidth || 400) - 2 * EDGE, height - margin.t - margin.b - 2 * EDGE]
  const worlds = Math.min(room[0] / ((east - west) / 360), room[1] / (up(north) - up(south)))
  const middle = (up(north) + up(south)) / 2
  return {
    center: { lon: (west + east) / 2, lat: ((Math.atan(Math.exp(2 * Math.PI * middle)) - Math.PI / 4) * 360) / Math.PI },
    zoom: Math.max(0, Math.log2(worlds / 512)),
  }
}

/* The numbers of small points that the reader has come near to. Plotly would lay out those of all points anew. */
function writeNumbers(map) {
  const shown = inner(map)
  const at = map.element._fullData.findIndex(({ name, mode, text }) => name === VALUES && mode === "markers" && text)
  if (at < 0 && !shown.getSource(NUMBERS)) return
  const features = at < 0 ? [] : inSight(shown, map.element.calcdata[at], map.element._fullData[at].text)
  const found = { type: "FeatureCollection", features }
  if (shown.getSource(NUMBERS)) {
    shown.getSource(NUMBERS).setData(found)
    if (features.length) shown.moveLayer(NUMBERS)
    return
  }
  if (!features.length) return
  const { color, family, size } = map.element.data[at].textfont
  shown.addSource(NUMBERS, { type: "geojson", data: found })
  shown.addLayer({
    id: NUMBERS,
    type: "symbol",
    source: NUMBERS,
    layout: {
      "text-field": ["get", "text"],
      "text-font": [family],
      "text-size": size,
      "text-anchor": "bottom",
      "text-offset": [0, -0.5],
    },
    paint: { "text-color": color },
  })
}

/* The points in sight with their texts, or none where there are too many. */
function inSight(shown, points, texts) {
  const bounds = shown.getBounds()
  const features = []
  for (let number = 0; number < points.length; number += 1) {
    if (!bounds.contains(points[number].lonlat)) continue
    if (features.length === LEGIBLE) return []
    const geometry = { type: "Point", coordinates: points[number].lonlat }
    features.push({ type: "Feature", geometry, properties: { text: String(texts[number]) } })
  }
  return features
}

function watch(map, Plotly) {
  map.isWatched = true
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
  const legend = document.createElement("ul")
  legend.className = "live-map-legend"
  parent.append(element, legend)
  return { element, legend, isFitted: false, isWatched: false, timer: undefined }
}

function writeLegend({ legend }, entries) {
  if (legend.dataset.entries === JSON.stringify(entries)) return
  legend.dataset.entries = JSON.stringify(entries)
  legend.replaceChildren(
    ...entries.map(({ label, colour }) => {
      const entry = document.createElement("li")
      const mark = document.createElement("i")
      mark.style.background = colour
      entry.append(mark, label) // as text
      return entry
    }),
  )
}

const maps = new WeakMap()

const PATIENCE = 10000 // milliseconds; a map that is out of sight may never be complete

/* One draw after the other, of which only the newest that waits counts: Plotly fails where it is given new data before
   the map's style is there. */
function drawInTurn(map, figure, words) {
  map.next = { figure, words }
  map.element.setAttribute("aria-busy", "true")
  map.drawing ??= (async () => {
    while (map.next) {
      const { figure, words } = map.next
      map.next = undefined
      const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE))
      await Promise.race([draw(map, figure, words).catch((error) => fail(map, error, words)), patience])
    }
  })().finally(() => {
    map.drawing = undefined
    map.element.setAttribute("aria-busy", "false")
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
  if (!figure) {
    load(words.library).catch(console.warn)
    return undefined
  }
  if (!maps.has(parentElement)) maps.set(parentElement, mount(parentElement))
  const map = maps.get(parentElement)
  map.element.setAttribute("aria-label", words.alt)
  map.element.style.minHeight = `${words.height}px`
  writeLegend(map, figure.layout.meta.legend)
  clearTimeout(map.timer)
  drawInTurn(map, figure, words).then(() => {
    if (words.step === null) return
    clearTimeout(map.timer)
    map.timer = setTimeout(() => setTriggerValue("step", words.step), words.after)
  })
  return () => clearTimeout(map.timer)
}
