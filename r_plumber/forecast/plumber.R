# Routes of the forecast service: what to read, what to do, and where the answer holds columns.
# The statistics are in R/.

#* Fit the risk of falling silent, and the hazard of coming back
#* @post /survival/fit
function(req, res) {
  as_job(req, res, parse = "read_survival_fit", work = "fit_survival", table = "landmarks",
         columnar = c("risk_model", "ph_test"))
}

#* Fit the hazard of coming back alone
#* @post /survival/cox
function(req, res) {
  as_job(req, res, parse = "read_cox", work = "fit_return", table = "gaps",
         columnar = "ph_test")
}

#* Risks of falling silent, from a fit's parameters alone
#* @post /survival/predict
function(req, res) {
  as_job(req, res, parse = "read_survival_predict", work = "predict_survival", table = "rows",
         columnar = c("risks", "models"))
}

#* Fit series by prophet, and forecast them
#* @post /prophet/fit
function(req, res) {
  as_job(req, res, parse = "read_prophet_fit", work = "fit_prophet", table = "points",
         columnar = c("series", "changepoints", "fitted", "forecast", "models", "holidays"))
}

#* Forecast series, from a fit's parameters alone
#* @post /prophet/predict
function(req, res) {
  as_job(req, res, parse = "read_prophet_predict", work = "predict_prophet", table = "dates",
         columnar = "forecast")
}
