await Warren.start()
