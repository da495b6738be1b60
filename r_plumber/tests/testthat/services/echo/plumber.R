# A service without statistics: what tests/testthat/test-common-*.R hold common/ to.

#* @post /echo
function(req, res) {
  as_job(req, res, parse = "read_echo", work = "echo", table = "answers", columnar = c("rows", "answers"))
}

#* @post /break
function(req, res) stop("the handler broke")
