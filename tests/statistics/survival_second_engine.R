# The other side of test_survival_engines.py: the forecast service's engine, R's survival and R's loess, on
# the tables of a folder. Arguments: the checkout, the folder.

folders <- commandArgs(trailingOnly = TRUE)
engine <- new.env()
sources <- c(
  file.path(folders[1], "r_plumber", "common", "R", c("problem.R", "parse.R", "work.R")),
  list.files(file.path(folders[1], "r_plumber", "forecast", "R"), pattern = "[.]R$", full.names = TRUE)
)
for (file in sources) sys.source(file, engine)
read <- function(name) data.table::fread(file.path(folders[2], name), data.table = FALSE)
write <- function(value, name) {
  jsonlite::write_json(value, file.path(folders[2], name), digits = NA, auto_unbox = TRUE, null = "null")
}

gaps <- read("gaps.csv")
for (table in c("landmarks", "school_days")) {
  landmarks <- read(paste0(table, ".csv"))
  fit <- engine$fit_survival(landmarks, gaps)
  predictions <- engine$predict_survival(landmarks, fit$risk_model)
  write(list(fit = fit, predictions = predictions), paste0(table, ".json"))
}

surv <- survival::Surv(gaps$start, gaps$stop, gaps$returned)
cox <- survival::coxph(surv ~ a_t + e_t, gaps, cluster = gaps$student_id, ties = "efron")
write(
  list(
    coef = unname(cox$coefficients), se = sqrt(diag(cox$var)), concordance = cox$concordance[["concordance"]],
    zph = unname(survival::cox.zph(cox)$table[, "chisq"])
  ),
  "cox.json"
)

calibration <- read("calibration.csv")
smooth <- stats::loess(happened ~ prediction, calibration, control = stats::loess.control(surface = "direct"))
write(list(happened = smooth$fitted), "loess.json")
