# Two unbalanced panels with a random intercept of the day crossed with nested levels, and lme4's fits of them:
# Rscript make.R   (R 4.2.2, lme4 1.1-31, lmerTest 3.1-3; writes long.csv, wide.csv and lme4.json)
suppressMessages({library(lme4); library(lmerTest); library(jsonlite)})
set.seed(20)
panel <- function(firms, sectors, days, share) {
  d <- expand.grid(day = seq_len(days), firm = seq_len(firms))
  d <- d[runif(nrow(d)) < share, ]
  d$sector <- (d$firm - 1) %/% (firms / sectors) + 1
  n <- nrow(d)
  d$x <- round(rnorm(n) + 0.5 * rnorm(firms)[d$firm], 3)
  d$z <- round(rnorm(n) + 0.7 * rnorm(days)[d$day], 3)
  d$w <- round(runif(n, 0.4, 2.5), 2)
  d$y <- round(2 + 0.8 * d$x - 0.3 * d$z + rnorm(firms)[d$firm] + 0.5 * rnorm(firms)[d$firm] * d$x +
    0.8 * rnorm(sectors)[d$sector] + 0.3 * rnorm(sectors)[d$sector] * d$x + 0.6 * rnorm(days)[d$day] +
    rnorm(n) / sqrt(d$w), 4)
  d$firm <- paste0("f", d$firm)
  d$sector <- paste0("s", d$sector)
  d[c("sector", "firm", "day", "x", "z", "w", "y")]
}
# The first has more days than nested coefficients, the second fewer.
panels <- list(long = panel(12, 4, 80, 0.6), wide = panel(120, 8, 40, 0.2))
formulas <- list(intercepts = y ~ x + z + (1 | firm) + (1 | day),
                 slopes = y ~ x + z + (1 + x | firm) + (1 | day),
                 two_levels = y ~ x + z + (1 + x | firm) + (1 + x || sector) + (1 | day))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.1, rhoend = 1e-9, maxfun = 1e5),
                     check.conv.grad = "ignore", check.conv.hess = "ignore")
out <- list()
for (name in names(panels)) {
  d <- panels[[name]]
  write.csv(d, paste0(name, ".csv"), row.names = FALSE, quote = FALSE)
  for (model in names(formulas)) for (weighted in c(FALSE, TRUE)) for (reml in c(FALSE, TRUE)) {
    d$weight <- if (weighted) d$w else 1
    m <- lmer(formulas[[model]], d, REML = reml, weights = weight, control = tight)
    days <- ranef(m, condVar = TRUE)$day
    firms <- ranef(m, condVar = TRUE)$firm
    table <- coef(summary(m))
    out[[name]][[model]][[if (weighted) "weighted" else "plain"]][[if (reml) "reml" else "ml"]] <- list(
      loglik = c(logLik(m)), sigma = sigma(m), fixed = unname(fixef(m)), se = unname(table[, "Std. Error"]),
      df = unname(table[, "df"]), sd_day = attr(VarCorr(m)$day, "stddev")[[1]],
      day = rownames(days), day_blup = days[[1]], day_sd = sqrt(c(attr(days, "postVar"))),
      firm = rownames(firms), firm_blup = firms[[1]], firm_sd = sqrt(attr(firms, "postVar")[1, 1, ]))
  }
}
writeLines(toJSON(out, digits = 12, auto_unbox = TRUE), "lme4.json")
