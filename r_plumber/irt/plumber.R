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

#* Link two calibrations that share items
#* @post /irt/link
function(req, res) {
  as_job(req, res, parse = "read_linking", work = "link", table = "new",
         columnar = c("constants", "weights", "dropped"))
}

#* Drift of the shared items' parameters
#* @post /irt/drift
function(req, res) {
  as_job(req, res, parse = "read_drift", work = "drift", table = "new", columnar = c("constants", "items"))
}

#* Item fit and person fit
#* @post /irt/fit
function(req, res) {
  as_job(req, res, parse = "read_fit", work = "fit", table = "responses", columnar = c("items", "students"))
}

#* Differential item functioning between groups
#* @post /irt/dif
function(req, res) {
  as_job(req, res, parse = "read_dif", work = "dif", table = "responses", columnar = c("items", "groups"))
}
