-- The one filter of both renderers: what the reports' own elements become in the PDF, and what may not pass.
-- The classes are those of seedtest_assets/reports/subset.py; template.typ has the functions.

-- Divs that become #name[...].
local boxes = {
  tile = "tile", summary = "summary", advice = "advice", note = "note", column = "column",
}
-- Divs whose child divs stand beside one another: #name([...], [...]).
local rows = { tiles = "tiles", columns = "beside", ["figure-row"] = "beside" }
-- Spans that become #name[...]. `label` is a name of Typst's own.
local words = { value = "value", label = "caption-of-tile", muted = "muted", good = "good", watch = "watch" }

local to_typst = FORMAT:match("typst") ~= nil

local function typst(code) return pandoc.RawBlock("typst", code) end
local function inline_typst(code) return pandoc.RawInline("typst", code) end

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("%c", " ") .. '"'
end

local function name_in(names, element)
  for _, class in ipairs(element.classes) do
    if names[class] then return names[class] end
  end
end

-- Documents have no raw parts: what looks like one came in with data.
local function drop() return {} end

-- Nor has data a say in how a page is made. (Quarto keeps settings of its own here, and reads no others of a text.)
local described = {
  title = true, subtitle = true, author = true, lang = true, keywords = true, description = true,
}
local function meta(fields)
  if quarto then return nil end
  for name in pairs(fields) do
    if not described[name] then fields[name] = nil end
  end
  return fields
end

local function link(element)
  local target = element.target
  if target:match("^https://") or target:match("^mailto:") or target:match("^#") then return nil end
  return element.content
end

-- Only charts beside the document, so that nothing else of this machine is embedded and nothing is fetched.
local function image(element)
  if not element.src:match("^[%w_-]+%.svg$") then return element.caption end
  local alt = element.attributes["fig-alt"] or ""
  element.attributes["fig-alt"] = nil
  if not to_typst then
    element.attributes.alt = alt
    return element
  end
  local width = element.attributes.width
  local size = width and width:match("^[%d.]+[%%cmpt]+$") and ", width: " .. width or ""
  return inline_typst("#image(" .. quoted(element.src) .. ", alt: " .. quoted(alt) .. size .. ");")
end

local function row(element)
  local name = name_in(rows, element)
  if not name then return nil end
  local blocks = pandoc.Blocks({ typst("#" .. name .. "(") })
  for _, child in ipairs(element.content) do
    blocks:extend({ typst("["), child, typst("],") })
  end
  blocks:insert(typst(")"))
  return blocks
end

local function box(element)
  local name = name_in(boxes, element)
  local blocks = name and element.content or pandoc.Blocks({ element })
  if name then
    blocks:insert(1, typst("#" .. name .. "["))
    blocks:insert(typst("]"))
  end
  if element.classes:includes("new-page") then blocks:insert(1, typst("#pagebreak(weak: true)")) end
  return blocks
end

-- A pipe table says no widths: the whole line then, and columns of words twice as wide as those of numbers.
local function full_width(element)
  local columns = element.colspecs
  for _, column in ipairs(columns) do
    if column[2] then return nil end
  end
  local weights, sum = {}, 0
  for place, column in ipairs(columns) do
    weights[place] = column[1] == "AlignRight" and 1 or 2
    sum = sum + weights[place]
  end
  for place, column in ipairs(columns) do
    columns[place] = { column[1], weights[place] / sum }
  end
  element.colspecs = columns
  return element
end

-- The title is a page's only heading of level 1; in a PDF it is none, and headings begin with 1.
local function header(element)
  element.level = math.max(1, element.level - 1)
  if element.classes:includes("new-page") then return { typst("#pagebreak(weak: true)"), element } end
  return element
end

local function span(element)
  local name = name_in(words, element)
  if not name then return nil end
  local inlines = pandoc.Inlines({ inline_typst("#" .. name .. "[") })
  inlines:extend(element.content)
  inlines:insert(inline_typst("];"))
  return inlines
end

local guard = { RawBlock = drop, RawInline = drop, Link = link, Meta = meta }
if to_typst then
  -- Rows first: their children must still be divs.
  return { guard, { Image = image, Table = full_width }, { Div = row }, { Div = box, Header = header, Span = span } }
end
return { guard, { Image = image } }
