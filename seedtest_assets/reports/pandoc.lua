-- pandoc lua pandoc.lua READER DESIGN WRITERS FOLDER…: renders the report.qmd of each folder, WRITERS being html5,
-- typst or both with a comma. It stops at the first document that fails.
-- A pandoc to a document and format would spend two thirds of its time on its own tables.

local reader, design, writers = table.unpack(arg, 1, 3)

local function contents(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function filters(writer)
  FORMAT = writer
  return dofile(design .. "/report.lua")
end

-- As an <img>, nothing in an SVG can run.
local function embedding(folder)
  return {
    Image = function(image)
      image.src = pandoc.mediabag.make_data_uri("image/svg+xml", contents(folder .. "/" .. image.src))
      return image
    end,
  }
end

local formats = {}

if writers:find("html5") then
  formats.html5 = {
    file = "report.html",
    filters = filters("html5"),
    options = {
      template = pandoc.template.default("html5"),
      section_divs = true,
      wrap_text = "preserve",
      variables = {
        -- Whatever else might get in: nothing runs, and nothing is fetched.
        ["header-includes"] = '<meta http-equiv="Content-Security-Policy" content="'
          .. "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
          .. '">\n<style>\n'
          .. contents(design .. "/styles.css")
          .. "</style>",
        ["include-before"] = "<main>",
        ["include-after"] = "</main>",
      },
    },
  }
end

if writers:find("typst") then
  formats.typst = {
    file = "report.typ",
    filters = filters("typst"),
    options = { template = contents(design .. "/template.typ"), wrap_text = "preserve" },
  }
end

local function write(document, writer, format, folder)
  for _, filter in ipairs(format.filters) do document = document:walk(filter) end
  if writer == "html5" then document = document:walk(embedding(folder)) end
  document.meta.pagetitle = pandoc.utils.stringify(document.meta.title)
  document.meta["document-css"] = false -- pandoc's own styles
  local file <close> = assert(io.open(folder .. "/" .. format.file, "wb"))
  file:write(pandoc.write(document, writer, format.options))
end

for place = 4, #arg do
  local document = pandoc.read(contents(arg[place] .. "/report.qmd"), reader)
  for writer, format in pairs(formats) do write(document, writer, format, arg[place]) end
end
