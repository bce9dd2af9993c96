"""`python -m app.beam`: batch prediction on a runner of Apache Beam."""
