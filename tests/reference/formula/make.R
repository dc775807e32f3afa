# Model matrices of R for tests/test_formula_reference.py:  Rscript make.R   (R 4.2.2, no packages but jsonlite)
# Writes data.csv (an unbalanced panel with factors, a truth value and missing values) and matrices.json.
set.seed(7)
n <- 48
d <- data.frame(
  sector = rep(c("S1", "S2", "S3"), each = 16), firm = rep(rep(c("a", "b", "c", "d"), each = 4), 3),
  year = rep(2001:2004, 12), y = round(rnorm(n, 5), 3), x = round(rexp(n) + 0.1, 3), z = round(rnorm(n), 3),
  IQ.verb = round(rnorm(n, 12, 2), 1), `a b` = round(runif(n), 3), f = sample(c("lo", "mid", "hi"), n, TRUE),
  h = sample(c("u", "v"), n, TRUE), ok = sample(c(TRUE, FALSE), n, TRUE), code = sample(c(1, 2, 10), n, TRUE),
  check.names = FALSE
)
d$x[c(5, 17)] <- NA; d$z[9] <- NA; d$f[30] <- NA
write.csv(d, "data.csv", row.names = FALSE, na = "", quote = FALSE)
# ours, and R's where it is written otherwise
cases <- list(
  c("x + z"), c("0 + x"), c("x - 1"), c("-1 + f"), c("f"), c("0 + f"), c("f + h"), c("0 + f + h"), c("h * f"),
  c("f * h"), c("f:h"), c("0 + f:h"), c("f:x"), c("x + f:x"), c("f + f:x"), c("x * f"), c("x * f * h"),
  c("(f + h + x)^2"), c("(f + h + x)^3 - f:h:x"), c("(x + z + h)^2 - x:z"), c("f/x"), c("f/h"), c("h/(x + f)"),
  c("x + f:h"), c("f + f:h"), c("h + x:f:h"), c("0 + x:f"), c("0 + h + x:f"), c("f:h + f"), c("x:z"), c("z:x + x"),
  c("ok"), c("0 + ok"), c("ok * x"), c("C(code)", "factor(code)"), c("C(code) * x", "factor(code) * x"),
  c("C(f, ref='mid')", "relevel(factor(f), ref = 'mid')"), c("0 + C(f, ref='mid')", "0 + relevel(factor(f), ref = 'mid')"),
  c("C(f, ref='mid') * h", "relevel(factor(f), ref = 'mid') * h"), c("C(ok, ref=TRUE)", "relevel(factor(ok), ref = 'TRUE')"),
  c("C(code, ref=2)", "relevel(factor(code), ref = '2')"),
  c("log(x) + log2(x) + log10(x) + exp(z) + sqrt(x) + abs(z)"), c("log1p(x)"), c("I(x^2) + I(x * z) + I(x/z)"),
  c("I(-x^2) + I(2^-1 * x) + I((x - 1)^2) + I(x - z - 1)"), c("I(x ** 2)", "I(x^2)"), c("log(x + 1):z"),
  c("IQ.verb + `a b`"), c("IQ.verb * f"), c("I(x > 1)", "as.numeric(x > 1)"), c("I(x > 1 & z < 0)", "as.numeric(x > 1 & z < 0)"),
  c("I(f == 'lo')", "as.numeric(f == 'lo')"), c("I((x > 1) * z)"), c("x >= 1", "as.numeric(x >= 1)"),
  c("scale(x)"), c("scale(log(x)) + z"), c("center(x)", "scale(x, scale = FALSE)"), c("scale(x):f"),
  c("poly(x, 1)"), c("poly(x, 2)"), c("poly(x, 3) + z"), c("poly(log(x), 4)"), c("poly(year, 3)"), c("poly(x, 2):h"),
  c("poly(x, 3, raw=TRUE)", "poly(x, 3, raw = TRUE)"), c("poly(x, 2) * f"), c("0 + poly(x, 2)"), c("poly(x, 8)"),
  c("1"), c("x + 1 - 1 + z"), c("x + z - x"), c("x * z - x"), c("f + x + z:f + z"), c("x^2"),
  c("((x)) + (z + (f))")
)
out <- lapply(cases, function(k) {
  rhs <- k[length(k)]
  form <- as.formula(paste("y ~", rhs))
  used <- d[complete.cases(d[, setdiff(all.vars(form), "y"), drop = FALSE]), ]
  m <- model.matrix(form, droplevels(used))
  list(formula = k[1], r = rhs, rows = as.integer(rownames(used)), names = colnames(m), values = unname(m))
})
writeLines(jsonlite::toJSON(out, digits = NA, auto_unbox = FALSE), "matrices.json")
