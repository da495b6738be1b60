# Routes of the glmm service: what to read, what to do, and where the answer holds columns.
# The statistics are in R/.

#* Fit a trend over weeks, with a random intercept and slope of each student
#* @post /glmm/fit_progress
function(req, res) {
  as_job(req, res, parse = "read_progress", work = "fit_progress", table = "rows",
         columnar = c("fixed_effects", "students", "topics"))
}

#* Fit a binomial mixed model of answers
#* @post /glmm/fit
function(req, res) {
  as_job(req, res, parse = "read_answers", work = "fit_answers", table = "rows",
         columnar = c("fixed", "random", "student_id", "item_id", "topic_id"))
}

#* Probabilities of right answers, from a fit's parameters alone
#* @post /glmm/predict
function(req, res) {
  as_job(req, res, parse = "read_answers_to_predict", work = "predict_answers", table = "rows",
         columnar = "predictions")
}
