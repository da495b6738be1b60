# Routes of the IRT service: what to read, what to do, and where the answer holds columns.
# The statistics are in R/.

#* Calibrate a bank of items
#* @post /irt/calibrate
function(req, res) {
  as_job(req, res, parse = "read_calibration", work = "calibrate", table = "responses",
         columnar = c("item_params", "abilities", "exclusions", "groups"))
}

#* Score students on items whose parameters are known
#* @post /irt/score
function(req, res) {
  as_job(req, res, parse = "read_scoring", work = "score", table = "responses",
         columnar = c("abilities", "topic_abilities"))
}
