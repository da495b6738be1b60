# Compile the models of the growth service: Rscript r_plumber/growth/compile.R FOLDER
# A model that is there for the same code and versions is left alone. One takes a minute and 2.6 GB of memory.

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
source(file.path(dirname(normalizePath(script)), "R", "models.R"))

#' Stop with a sentence, not with R's traceback
fail <- function(...) {
  message(...)
  quit(status = 1L)
}

#' Compile a model into a file that is whole or absent
compile <- function(model, path) {
  began <- proc.time()[["elapsed"]]
  draft <- tempfile("model-", dirname(path))
  on.exit(unlink(draft))
  saveRDS(rstan::stan_model(model_code = stan_code(model), model_name = model), draft)
  file.rename(draft, path)
  message(sprintf("%s: compiled in %.0f s", model, proc.time()[["elapsed"]] - began))
}

folder <- commandArgs(trailingOnly = TRUE)
if (length(folder) != 1L) fail("Usage: Rscript r_plumber/growth/compile.R FOLDER")
dir.create(folder, showWarnings = FALSE, recursive = TRUE)
if (file.access(folder, 2L) != 0L) fail("Cannot write to the folder ", folder, ".")
rstan::rstan_options(boost_lib = "/usr/include") # Debian's BH has no headers of its own

files <- compiled_files(folder)
for (model in names(files)) {
  if (file.exists(files[[model]])) {
    message(model, ": there already (", files[[model]], ")")
    next
  }
  missing <- Filter(function(program) !nzchar(Sys.which(program)), c("make", "g++"))
  if (length(missing)) {
    fail("Cannot compile ", model, ": no ", toString(missing), ". On Debian: apt-get install r-base-dev")
  }
  message(model, ": compiling (about a minute, 2.6 GB of memory)")
  tryCatch(compile(model, files[[model]]), error = function(e) {
    fail(
      "Cannot compile ", model, ": ", conditionMessage(e),
      "\nIs r-base-dev installed, are 2.6 GB of memory and some space in ", tempdir(), " free?"
    )
  })
}
