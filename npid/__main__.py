from npid.main import app

app()
