-- Rollback: 003_orders
-- Description: Removes the orders, then the type that their state has
-- Author: Ada Kern
-- Date: 2025-03-10

DROP TABLE shop.order_lines;
DROP TABLE shop.orders;
DROP TYPE shop.order_state;
