# Routes of the growth service: what to read, what to do, and where the answer holds columns.
# The statistics are in R/.

#* Sample the posterior of the population's parameters
#* @post /growth/fit
function(req, res) {
  as_job(req, res, parse = "read_growth_fit", work = "fit_growth", table = "scores",
         columnar = c("posterior_summary", "draws"))
}

#* The probability that students reach their goals, from draws of those parameters
#* @post /growth/predict
function(req, res) {
  as_job(req, res, parse = "read_growth_predict", work = "predict_growth", table = "scores",
         columnar = "goals")
}
