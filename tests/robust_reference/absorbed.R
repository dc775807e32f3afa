# Writes absorbed.json: fixed effects of the example panels by lm() with the dummies written out, errors by sandwich.
# Run in this folder: Rscript absorbed.R
# The clusters' own effects are not parameters of the factor (N - 1)/(N - K) but for the intercept: K of fixest's
# fixef.K = "nested", reghdfe and xtreg, fe.
suppressMessages({library(sandwich); library(jsonlite)})
data <- "../../config/data"
cases <- list(
  list(file = "uk_firms.csv", formula = "log(emp) ~ log(wage) + log(capital) + log(output)", keys = c("sector", "firm"), time = "year",
       weights = "output"),
  list(file = "us_states.csv", formula = "log(gsp) ~ log(emp) + unemp", keys = c("region", "state"), time = "year",
       weights = "emp"))
out <- list()
for (case in cases) {
  d <- read.csv(file.path(data, case$file))
  for (weights in list(NULL, case$weights)) for (absorb in list(case$keys[2], case$keys[1], case$time, case$keys[2:1],
                                                               c(case$keys[2], case$time), c(case$keys[1], case$time))) {
    own <- intersect(case$keys, absorb)
    # Ids are used again in other outer groups: the innermost level is their combination.
    path <- function(k) if (k == case$keys[2]) paste(d[[case$keys[1]]], d[[k]]) else d[[k]]
    level <- if (case$keys[2] %in% own || !length(own)) case$keys[2] else own
    d$cluster <- factor(path(level))
    d$period <- factor(d[[case$time]])
    dummies <- c(if (length(own)) "cluster", if (case$time %in% absorb) "period")
    d$w <- if (is.null(weights)) 1 else d[[weights]]
    fit <- lm(as.formula(paste(case$formula, "+", paste(dummies, collapse = " + "))), d, weights = w)
    kept <- attr(terms(as.formula(case$formula)), "term.labels")
    n <- nobs(fit); g <- nlevels(d$cluster)
    k <- fit$rank - if (length(own)) g - 1 else 0
    v <- vcovCL(fit, d$cluster, type = "HC0", cadjust = TRUE) * (n - 1) / (n - k)
    out[[length(out) + 1]] <- list(
      file = case$file, formula = case$formula, keys = case$keys, time = case$time, absorb = I(absorb),
      weights = weights, estimate = as.list(coef(fit)[kept]), clustered = as.list(sqrt(diag(v))[kept]),
      classical = as.list(sqrt(diag(vcov(fit)))[kept]), df = df.residual(fit), sigma = summary(fit)$sigma, clusters = g,
      loglik = as.numeric(logLik(fit)))
  }
}
writeLines(toJSON(out, digits = NA, auto_unbox = TRUE, pretty = TRUE, null = "null"), "absorbed.json")
